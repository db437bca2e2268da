import { defineConfig } from "vite";

/** The map of the report: one script without imports, which the report holds inside itself. */
export default defineConfig({
  publicDir: false,
  build: {
    outDir: "../src/rts_pipeline/report",
    emptyOutDir: false,
    chunkSizeWarningLimit: 700,
    lib: { entry: "report/map.ts", formats: ["iife"], name: "map", fileName: () => "map.js" },
  },
});
