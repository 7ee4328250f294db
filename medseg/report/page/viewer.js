// The three-plane viewer of a case: NiiVue is unpacked and started when a reader asks for it.
const unpack = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

const loadNiivue = async () => {
  if (window.niivue) return window.niivue;
  const packed = new Blob([unpack(document.getElementById("niivue-packed").textContent)]);
  const script = document.createElement("script");
  script.textContent = await new Response(packed.stream().pipeThrough(new DecompressionStream("gzip"))).text();
  document.head.append(script);
  return window.niivue;
};

const hasWebgl = () => Boolean(document.createElement("canvas").getContext("webgl2"));

const colourMap = (colours) => {
  const parts = [1, 3, 5].map((at) => [0, ...colours.map((colour) => parseInt(colour.slice(at, at + 2), 16))]);
  const index = [0, ...colours.map((_, number) => number + 1)];
  return { R: parts[0], G: parts[1], B: parts[2], A: index.map((number) => (number ? 255 : 0)), I: index };
};

const addVolumes = async (viewer, library, data) => {
  const load = async (name, options) => {
    const volume = await library.NVImage.loadFromUrl({ url: unpack(data[name]).buffer, name: `${name}.nii.gz`, ...options });
    if (name !== "image") volume.setColormapLabel(colourMap(data.colours));
    viewer.addVolume(volume);
    return volume;
  };
  // without an image the prediction's own grid is the black background
  const backdrop = data.image ? "image" : "prediction";
  const image = await load(backdrop, data.image ? { colormap: "gray", cal_min: 0, cal_max: 255 } : { opacity: 0 });
  return { image, prediction: await load("prediction", {}), truth: await load("truth", {}) };
};

const describe = (data, values) => {
  const organ = (value) => data.organs[value - 1] ?? "none";
  const [low, high] = data.window;
  const grey = data.image ? `Image about ${(low + (high - low) * values[0] / 255).toPrecision(3)}; ` : "";
  return `${grey}truth: ${organ(values[2])}; prediction: ${organ(values[1])}`;
};

const connect = (box, viewer, data) => {
  const find = (name) => box.querySelector(name);
  const sliders = [...box.querySelectorAll(".slice")];
  const show = () => {
    const share = (kind) => (find(`.show-${kind}`).checked ? find(`.${kind}-opacity`).value / 100 : 0);
    viewer.opts.atlasOutline = share("truth");
    viewer.setOpacity(1, share("prediction"));
    viewer.setOpacity(2, share("truth") ? 0.002 : 0);
  };
  viewer.onLocationChange = (place) => {
    sliders.forEach((slider, axis) => { slider.value = place.vox[axis] + 1; });
    find(".where").textContent = `Voxel ${place.vox.slice(0, 3).map((at) => Math.round(at) + 1).join(", ")} of ${data.shape.join(", ")}. `
      + describe(data, place.values.map((entry) => entry.value));
  };
  const move = () => {
    viewer.scene.crosshairPos = sliders.map((slider, axis) => (slider.value - 0.5) / data.shape[axis]);
    viewer.drawScene();
    viewer.createOnLocationChange();
  };
  for (const slider of sliders) slider.addEventListener("input", move);
  for (const name of [".show-truth", ".show-prediction", ".truth-opacity", ".prediction-opacity"]) find(name).addEventListener("input", show);
  find(".planes").addEventListener("change", (event) => viewer.setSliceType(Number(event.target.value)));
  sliders.forEach((slider, axis) => { slider.value = Math.round(data.start[axis] * data.shape[axis] + 0.5); });
  show();
  move();
};

const open = async (box) => {
  const library = await loadNiivue();
  const data = JSON.parse(box.querySelector(".volumes").textContent);
  const viewer = new library.Niivue({
    backColor: [0, 0, 0, 1], crosshairColor: [1, 1, 1, 0.6], crosshairWidth: 0.5, crosshairWidthUnit: "percent",
    isRadiologicalConvention: true, multiplanarShowRender: 0, isNearestInterpolation: true,
    dragAndDropEnabled: false, scrollRequiresFocus: true, logLevel: "silent", loadingText: "", show3Dcrosshair: false,
  });
  box.querySelector(".stage").hidden = false;
  await viewer.attachToCanvas(box.querySelector("canvas"));
  await addVolumes(viewer, library, data);
  connect(box, viewer, data);
  box.dataset.ready = "yes";
  return viewer;
};

for (const box of document.querySelectorAll(".viewer")) {
  const [button, message, stage] = [".open", ".message", ".stage"].map((name) => box.querySelector(name));
  button.hidden = false;
  const say = (text) => { message.textContent = text; message.hidden = false; };
  let viewer = null;
  button.addEventListener("click", async () => {
    if (!hasWebgl()) return say("This browser has no WebGL2, which the viewer needs. The pictures above show the same case.");
    if (!window.DecompressionStream) return say("This browser is too old for the viewer. The pictures above show the same case.");
    button.disabled = true;
    try {
      if (viewer) stage.hidden = false;
      viewer ??= await open(box);
      button.hidden = true;
      stage.scrollIntoView({ block: "nearest" });
      box.querySelector(".planes").focus({ preventScroll: true });
    } catch (error) {
      stage.hidden = true;
      say(`The viewer could not start (${error.message}). The pictures above show the same case.`);
    }
    button.disabled = false;
    return undefined;
  });
  // the wheel moves the page unless the viewer was clicked
  box.querySelector(".canvas").addEventListener("wheel", (event) => {
    if (document.activeElement !== event.target) event.stopPropagation();
  }, { capture: true, passive: true });
  box.querySelector(".close").addEventListener("click", () => {
    stage.hidden = true;
    button.hidden = false;
    button.focus();
  });
}
