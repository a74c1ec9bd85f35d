/** The lanes of a key in space: time to the right, nodes behind each other, and a number's height is its value. */
import { AmbientLight, BoxGeometry, Color, DirectionalLight, Group, Mesh, MeshLambertMaterial, PerspectiveCamera, Scene, WebGLRenderer } from "three";
import { valueOf } from "timeline-player";

import { control, recorded, type Recorded } from "../recorded";

const LENGTH = 20;
const renderer = new WebGLRenderer({ antialias: true });
renderer.setSize(1100, 520);
document.body.append(renderer.domElement);
const scene = new Scene();
scene.background = new Color("#f4f6f9");
const sun = new DirectionalLight("#ffffff", 2);
sun.position.set(4, 12, 8);
scene.add(new AmbientLight("#ffffff", 1.2), sun);
const camera = new PerspectiveCamera(45, 1100 / 520, 0.1, 200);
camera.position.set(LENGTH / 2, 13, 19);
camera.lookAt(LENGTH / 2, 0, -4);
const lanes = new Group();
const playhead = new Mesh(new BoxGeometry(0.04, 3, 14), new MeshLambertMaterial({ color: "crimson", transparent: true, opacity: 0.4 }));
scene.add(lanes, playhead);
let read: Recorded | null = null;

function box(from: number, to: number, height: number, z: number, colour: string): Mesh {
  const mesh = new Mesh(new BoxGeometry(to - from, height, 0.8), new MeshLambertMaterial({ color: colour }));
  mesh.position.set((from + to) / 2, height / 2, z);
  return mesh;
}

function draw({ timelines, nodes, key, start, end }: Recorded): void {
  const x = (time: number) => ((time - start) / (end - start || 1)) * LENGTH;
  lanes.clear();
  nodes.forEach(({ node }, row) => {
    const pieces = timelines.pieces(node, key);
    const greatest = Math.max(1, ...pieces.map((piece) => (typeof piece.value === "number" ? piece.value : 0)));
    pieces.forEach((piece, i) => {
      const until = pieces[i + 1]?.start ?? end;
      if (piece.value === false || piece.value === null || until <= piece.start) return;
      const value = valueOf(piece, until);
      const height = typeof value === "number" ? (2 * value) / greatest + 0.02 : 0.6;
      lanes.add(box(x(piece.start), x(until), height, -row * 1.2 + 4, typeof value === "number" ? "#1d4f91" : "#1f7a4d"));
    });
  });
  document.body.dataset["boxes"] = String(lanes.children.length);
}

read = await recorded(() => read && draw(read));
draw(read);
const { start, end } = read;
control(read, (at) => {
  playhead.position.set(((at - start) / (end - start || 1)) * LENGTH, 1.5, -2);
  renderer.render(scene, camera);
});
