/** The lanes of a key as SVG: a bar for each stretch in which a node was true, or had a value. */
import { axisTop, scaleBand, scaleLinear, scaleOrdinal, schemeTableau10, select } from "d3";

import { control, recorded, type Recorded } from "../recorded";

const WIDTH = 1100;
const LEFT = 360;
const svg = select(document.body).append("svg").attr("width", WIDTH).attr("height", 460);
let read: Recorded | null = null;

function draw({ timelines, nodes, key, start, end }: Recorded): void {
  const x = scaleLinear([start, end], [LEFT, WIDTH - 10]);
  const y = scaleBand(nodes.map((node) => node.node), [30, 450]).padding(0.25);
  const colour = scaleOrdinal(schemeTableau10);
  svg.selectAll("*").remove();
  svg.append("g").attr("transform", "translate(0,28)").call(axisTop(x));
  for (const { node, expression } of nodes) {
    const top = y(node) ?? 0;
    const pieces = timelines.pieces(node, key);
    const spans = pieces.map((piece, i) => ({ ...piece, until: pieces[i + 1]?.start ?? end }));
    const lane = svg.append("g").attr("class", "lane");
    lane.append("text").attr("x", 4).attr("y", top + 16).attr("font-size", 11).text(expression.slice(0, 58));
    lane
      .selectAll("rect")
      .data(spans.filter(({ value, start: from, until }) => value !== false && value !== null && until > from))
      .join("rect")
      .attr("x", (span) => x(span.start))
      .attr("width", (span) => Math.max(x(span.until) - x(span.start), 1))
      .attr("y", top)
      .attr("height", y.bandwidth())
      .attr("fill", (span) => colour(String(typeof span.value === "number" ? node : span.value)))
      .append("title")
      .text((span) => `${String(span.value)}${span.slope ? ` + ${span.slope}/s` : ""} from ${span.start}`);
  }
  svg.append("line").attr("id", "playhead").attr("y1", 20).attr("y2", 455).attr("stroke", "crimson");
}

read = await recorded(() => read && draw(read));
draw(read);
const x = scaleLinear([read.start, read.end], [LEFT, WIDTH - 10]);
control(read, (at) => svg.select("#playhead").attr("x1", x(at)).attr("x2", x(at)));
