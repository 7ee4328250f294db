// Three planes of an image with label maps over it, drawn by NiiVue.
const layers = JSON.parse(document.getElementById("layers").textContent);
const find = (name) => document.querySelector(name);
const say = (text) => { find(".message").textContent = text; };

const colourMap = (colours) => {
  const parts = [1, 3, 5].map((at) => [0, ...colours.map((colour) => parseInt(colour.slice(at, at + 2), 16))]);
  const index = [0, ...colours.map((_, number) => number + 1)];
  return { R: parts[0], G: parts[1], B: parts[2], A: index.map((number) => (number ? 255 : 0)), I: index };
};

const load = async (viewer, layer) => {
  const answer = await fetch(layer.file);
  if (!answer.ok) throw new Error(`${layer.name} was not sent; is medseg view still running?`);
  const [low, high] = layer.window;
  const options = layer !== layers[0] ? { opacity: 0.5 } : { colormap: "gray", cal_min: low, cal_max: high };
  const volume = await niivue.NVImage.loadFromUrl({ url: await answer.arrayBuffer(), name: layer.file, ...options });
  if (layer !== layers[0]) volume.setColormapLabel(colourMap(layer.colours));
  viewer.addVolume(volume);
};

const describe = (place) => {
  const mm = [...place.mm].slice(0, 3).map((at) => at.toFixed(1)).join(", ");
  const values = place.values.map((entry, index) => {
    if (!index) return `intensity ${Number(entry.value.toPrecision(4))}`;
    return `${layers[index].name}: ${layers[index].organs[Math.round(entry.value) - 1] ?? "none"}`;
  });
  return `${mm} mm (RAS)\n${values.join("\n")}`;
};

const goTo = (viewer, mm) => {
  viewer.scene.crosshairPos = viewer.mm2frac(mm);
  viewer.drawScene();
  viewer.createOnLocationChange();
};

const connect = (viewer) => {
  viewer.onLocationChange = (place) => { find(".where").innerText = describe(place); };
  find(".planes").addEventListener("change", (event) => viewer.setSliceType(Number(event.target.value)));
  const setWindow = () => {
    const [low, high] = [".low", ".high"].map((name) => Number(find(name).value));
    if (!(high > low)) return;
    Object.assign(viewer.volumes[0], { cal_min: low, cal_max: high });
    viewer.updateGLVolume();
  };
  for (const name of [".low", ".high"]) find(name).addEventListener("change", setWindow);
  for (const box of document.querySelectorAll(".layer")) {
    const index = Number(box.dataset.layer);
    const [shown, opacity] = [".shown", ".opacity"].map((name) => box.querySelector(name));
    const show = () => viewer.setOpacity(index, shown.checked ? opacity.value / 100 : 0);
    shown.addEventListener("change", show);
    opacity.addEventListener("input", show);
    for (const organ of box.querySelectorAll(".organ")) {
      const number = Number(organ.dataset.class);
      organ.querySelector("i").style.background = layers[index].colours[number - 1];
      organ.addEventListener("click", () => goTo(viewer, layers[index].centres[number - 1]));
    }
  }
  const first = layers[1]?.centres.find((centre) => centre);
  goTo(viewer, first ?? layers[0].centres[0]);
};

const start = async () => {
  if (!document.createElement("canvas").getContext("webgl2")) return say("This browser has no WebGL2, which the viewer needs.");
  const viewer = new niivue.Niivue({
    backColor: [0, 0, 0, 1], crosshairColor: [1, 1, 1, 0.6], crosshairWidth: 0.25, crosshairWidthUnit: "percent",
    isRadiologicalConvention: true, multiplanarShowRender: 0, isNearestInterpolation: true,
    dragAndDropEnabled: false, logLevel: "silent", loadingText: "", show3Dcrosshair: false,
  });
  await viewer.attachToCanvas(find("canvas"));
  for (const layer of layers) await load(viewer, layer);
  connect(viewer);
  say("");
  document.body.dataset.ready = "yes";
  return undefined;
};

start().catch((error) => say(`The viewer could not start: ${error.message}`));
