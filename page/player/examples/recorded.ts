/**
 * Recorded: what both examples read: the timelines of a key, `?server=http://127.0.0.1:8321&metric=cirr&key=s1`.
 *
 * The server must know where the example comes from: `timeline serve --origin http://localhost:5173`.
 */
import { Player, Playhead, Timelines, type ChangesPart, type NodeInfo } from "timeline-player";

export interface Recorded {
  player: Player;
  playhead: Playhead;
  timelines: Timelines;
  nodes: NodeInfo[];
  key: string;
  start: number;
  end: number;
}

/** Reads the timelines, all of them, and goes back to the start; `changed` is called when they change. */
export async function recorded(changed: () => void): Promise<Recorded> {
  const said = new URLSearchParams(location.search);
  const [metric, key] = [said.get("metric") ?? "cirr", said.get("key") ?? "s1"];
  const token = said.get("token");
  const player = new Player(`${said.get("server") ?? "http://127.0.0.1:8321"}/api/dvr`, token ? { token } : {});
  const [timelines, playhead] = [new Timelines(), new Playhead()];
  const { range } = await player.ready();
  const { channels } = await player.open([{ channel: "lanes", metric, nodes: "all", keys: [key] }]);
  const arrived = new Promise<void>((resolve) => {
    player.listen((message) => {
      playhead.hear(message, performance.now());
      if (message.type === "snapshot") timelines.addLevels(message.channels["lanes"] ?? [], message.at);
      else if (message.type === "frame" && message.channels["lanes"]) {
        timelines.addChanges(message.channels["lanes"] as ChangesPart);
      } else if (message.type === "revision") timelines.revise(message, player.state?.position ?? Infinity);
      else {
        if (message.type === "state" && message.status === "ended") resolve();
        return;
      }
      changed();
    });
  });
  const [start, end] = [range.start ?? 0, range.live ?? 0];
  await player.ask({ action: "play", start, end, speed: Math.max((end - start) / 0.2, 1) });
  await arrived;
  return { player, playhead, timelines, nodes: channels[0]?.nodes ?? [], key, start, end };
}

/** The button plays from the start, and the text says where it is. */
export function control({ player, playhead, start, end }: Recorded, moved: (at: number) => void): void {
  document.getElementById("play")?.addEventListener("click", () => {
    void player.ask({ action: "play", start, end, speed: Math.max((end - start) / 20, 1) });
  });
  const output = document.getElementById("at") as HTMLOutputElement;
  const frame = () => {
    const at = playhead.at(performance.now());
    output.value = at.toFixed(2);
    moved(at);
    requestAnimationFrame(frame);
  };
  frame();
}
