// Bundles page/ into the folder that `vite build --outDir` names. Hydrogen wants its service worker, which fetches
// media with the access token, at the root of the site under its own name.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { defineConfig } from "vite";

const hydrogen = dirname(createRequire(import.meta.url).resolve("hydrogen-view-sdk"));

export default defineConfig({
  root: join(import.meta.dirname, "page"),
  base: "./",
  // Not minified, so that an exception in the page names the client's own functions.
  build: { target: "esnext", minify: false, assetsInlineLimit: 0, reportCompressedSize: false },
  plugins: [
    {
      name: "hydrogen-service-worker",
      generateBundle() {
        this.emitFile({ type: "asset", fileName: "sw.js", source: readFileSync(join(hydrogen, "sw.js")) });
      },
    },
  ],
});
