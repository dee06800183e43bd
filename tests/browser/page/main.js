// The whole page: Hydrogen's own root view, as its view SDK hands it out, in its own light theme. Nothing of the client
// is replaced, so what a test clicks and reads is what a person gets. config.json, which names the homeserver that the
// login form proposes, is served beside the page by driver.mjs.
import { FeatureSet, Platform, RootViewModel, createNavigation, createRouter } from "hydrogen-view-sdk";
import downloadSandbox from "hydrogen-view-sdk/download-sandbox.html?url";
import worker from "hydrogen-view-sdk/main.js?url";
import olmWasm from "@matrix-org/olm/olm.wasm?url";
import olm from "@matrix-org/olm/olm.js?url";
import olmLegacy from "@matrix-org/olm/olm_legacy.js?url";
import "hydrogen-view-sdk/assets/theme-element-light.css";

const platform = new Platform({
  container: document.body,
  assetPaths: {
    downloadSandbox,
    worker,
    olm: { wasm: olmWasm, wasmBundle: olm, legacyBundle: olmLegacy },
    serviceWorker: "sw.js",
  },
  configURL: "config.json",
  options: { development: false },
});
const navigation = createNavigation();
platform.setNavigation(navigation);
await platform.init();
const urlRouter = createRouter({ navigation, history: platform.history });
urlRouter.attach();
const features = await FeatureSet.load(platform.settingsStorage);
const root = new RootViewModel({ platform, navigation, urlRouter, features });
await root.load();
platform.createAndMountRootView(root);
