import { fileURLToPath } from "node:url";

import { defineConfig } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  root: here("."),
  base: "./",
  resolve: { alias: { "timeline-player": here("../src/index.ts") } },
  build: { outDir: "dist", emptyOutDir: true, rolldownOptions: { input: [here("d3/index.html"), here("three/index.html")] } },
});
