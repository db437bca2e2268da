import { readFileSync } from "node:fs";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { marked } from "marked";
import { defineConfig, type Plugin } from "vite";

/** The guideline of the repository as HTML, so that the page needs no Markdown at run time. */
function guideline(): Plugin {
  const name = "virtual:guideline";
  return {
    name: "guideline",
    resolveId: (id) => (id === name ? `\0${name}` : undefined),
    load(id) {
      if (id !== `\0${name}`) return undefined;
      const text = readFileSync(new URL("../docs/guideline.md", import.meta.url), "utf8");
      const version = /^Version:\s*(.+)$/m.exec(text)?.[1] ?? "";
      return `export const html = ${JSON.stringify(marked.parse(text))}; export const version = ${JSON.stringify(version)};`;
    },
  };
}

export default defineConfig({
  plugins: [svelte(), guideline()],
  build: {
    outDir: "../src/rts_pipeline/review/page",
    emptyOutDir: true,
    modulePreload: false,
    // OpenLayers alone has half of this; it comes over the loopback
    chunkSizeWarningLimit: 700,
    assetsInlineLimit: 0,
    // without hashes in their names a new build changes these files and adds none
    rolldownOptions: {
      output: { entryFileNames: "assets/review.js", chunkFileNames: "assets/[name].js", assetFileNames: "assets/[name][extname]" },
    },
  },
});
