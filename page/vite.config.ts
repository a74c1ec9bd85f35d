import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

const server = process.env["TIMELINE_WEB"] ?? "http://127.0.0.1:8321";

// A digest of all that the page is built from: tests compare it with the sources, without Node.
function sourcesDigest(): string {
  const top = fileURLToPath(new URL(".", import.meta.url));
  const files = (folder: string): string[] =>
    readdirSync(top + folder, { recursive: true, encoding: "utf8" }).map((name) => `${folder}/${name}`);
  const single = ["index.html", "package-lock.json", "package.json", "svelte.config.js", "vite.config.ts"];
  const all = [...single, ...files("src"), ...files("player/src"), ...files("public")];
  const digest = createHash("sha256");
  for (const name of all.filter((one) => !one.endsWith(".test.ts") && statSync(top + one).isFile()).sort()) {
    digest.update(`${name}\0`).update(readFileSync(top + name)).update("\0");
  }
  return digest.digest("hex");
}

export default defineConfig({
  base: "./",
  plugins: [
    svelte(),
    {
      name: "sources",
      generateBundle() {
        this.emitFile({ type: "asset", fileName: "sources.sha256", source: `${sourcesDigest()}\n` });
      },
    },
  ],
  resolve: { alias: { "timeline-player": fileURLToPath(new URL("player/src/index.ts", import.meta.url)) } },
  build: {
    outDir: "../timeline_workers/web/page",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0, // the page's policy allows no data: addresses
    modulePreload: { polyfill: false },
    rolldownOptions: {
      output: {
        entryFileNames: "assets/[name]-[hash].js",
        chunkFileNames: "assets/[name]-[hash].js",
        assetFileNames: "assets/[name]-[hash][extname]",
      },
    },
  },
  server: { proxy: { "/api": { target: server, ws: true, changeOrigin: true } } },
  test: { include: ["src/**/*.test.ts", "player/src/**/*.test.ts"], environment: "node" },
});
