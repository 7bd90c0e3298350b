// Keys lead to other pages. The buttons zoom into the cached image, or into the full-size image of the library.

addEventListener("keydown", (event) => {
  if (event.defaultPrevented) return; // the zoomed page has moved
  const isTyping = event.target.closest("input, select, textarea") && event.target.type !== "range";
  if (document.body.classList.contains("editing")) return; // editor.js has its own keys
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.type === "range" && event.key.startsWith("Arrow")) return;
  document.querySelector(`[data-key="${CSS.escape(event.key)}"]`)?.click();
  if (event.key === "+") zoom(1.5);
  if (event.key === "-") zoom(1 / 1.5);
});

const picture = document.querySelector("#picture");
let viewer = null;

function open(source) {
  const { width, height } = picture.dataset;
  const boxes = picture.querySelector("svg.boxes");
  viewer?.destroy();
  picture.querySelector("img")?.remove();
  picture.classList.add("zoomed");
  viewer = OpenSeadragon({ element: picture, tileSources: source, showNavigationControl: false, maxZoomPixelRatio: 4, drawer: "canvas" });
  // The boxes are an overlay of the image's size. In the viewer, the image is one unit wide.
  viewer.addHandler("open", () => {
    viewer.addOverlay({ element: boxes, location: new OpenSeadragon.Rect(0, 0, 1, height / width) });
  });
}

// Without info.json, so that a library without CORS headers can be shown too. Every server of level 1 cuts regions.
function describeService({ service, version, width, height }) {
  const context = { 1: "http://library.stanford.edu/iiif/image-api/1.1/context.json" };
  return {
    "@context": context[version] ?? `http://iiif.io/api/image/${version}/context.json`,
    "@id": service,
    id: service,
    type: "ImageService3",
    protocol: "http://iiif.io/api/image",
    profile: version === "3" ? "level1" : `http://iiif.io/api/image/${version}/level1.json`,
    width: Number(width),
    height: Number(height),
    tiles: [{ width: 1024, scaleFactors: [1, 2, 4, 8, 16] }],
  };
}

function zoom(factor) {
  if (!picture || typeof OpenSeadragon === "undefined") return;
  if (!viewer) open({ type: "image", url: picture.dataset.cached });
  const apply = () => viewer.viewport.zoomBy(factor);
  viewer.isOpen() ? apply() : viewer.addOnceHandler("open", apply);
}

if (picture) {
  document.querySelector(".zoom").hidden = false;
  document.querySelector("#zoom-in").addEventListener("click", () => zoom(1.5));
  document.querySelector("#zoom-out").addEventListener("click", () => zoom(1 / 1.5));
  document.querySelector("#zoom-home").addEventListener("click", () => viewer?.viewport.goHome());
  document.querySelector("#zoom-full")?.addEventListener("click", (event) => {
    event.target.setAttribute("aria-pressed", "true");
    open(describeService(picture.dataset));
  });
}
