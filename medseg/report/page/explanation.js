// Maps over slices: each is unpacked when its slice is shown, and coloured and laid over the scan here.
const page = JSON.parse(document.getElementById("explained").textContent);
const [width, height] = page.size;
const colours = Uint8Array.from(atob(page.colours), (letter) => letter.charCodeAt(0));
const named = (id) => document.getElementById(id);
const FINE = 448; // pixels of a large picture's longer side, TILE those of a small one's
const TILE = 112;

const canvasOf = (across, down) => Object.assign(document.createElement("canvas"), { width: across, height: down });

const pictureOf = async (packed) => {
  const image = new Image();
  image.src = `data:image/webp;base64,${packed}`;
  await image.decode();
  return image;
};

const valuesOf = async (packed) => {
  const image = await pictureOf(packed);
  const brush = canvasOf(image.width, image.height).getContext("2d", { willReadFrequently: true });
  brush.drawImage(image, 0, 0);
  const { data } = brush.getImageData(0, 0, image.width, image.height);
  return { across: image.width, down: image.height, at: (place) => data[4 * place] };
};

// a map as a picture whose opacity grows with its numbers, 0 to 255
const coloured = ({ across, down, at }) => {
  const canvas = canvasOf(across, down);
  const pixels = new ImageData(across, down);
  for (let place = 0; place < across * down; place += 1) {
    const value = Math.round(at(place));
    pixels.data.set(colours.subarray(3 * value, 3 * value + 3), 4 * place);
    pixels.data[4 * place + 3] = value;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
};

const paint = (canvas, grey, map) => {
  const brush = canvas.getContext("2d");
  brush.globalAlpha = 1;
  brush.drawImage(grey, 0, 0, canvas.width, canvas.height);
  if (!map) return;
  brush.globalAlpha = named("opacity").value / 100;
  brush.drawImage(map, 0, 0, canvas.width, canvas.height);
};

const sized = (canvas, side) => {
  const scale = side / Math.max(width, height);
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  return canvas;
};

const panes = [...document.querySelectorAll("canvas[data-pane]")].map((canvas) => sized(canvas, Math.max(FINE, width, height)));
const shown = { place: Number(named("slice")?.value ?? 0), grey: null, maps: [], heads: null };

// ---- layers and heads: tokens are interpolated between their centres

const numbersOf = (layer, head) => {
  const { grid: [rows, columns], counts } = page.heads;
  const wide = columns * Math.max(...counts);
  return (row, column) => shown.heads.at((layer * rows + row) * wide + head * columns + column);
};

// of one head, or, without, the mean of all; in both cases up to 255
const tokensOf = (layer, head) => {
  const [rows, columns] = page.heads.grid;
  const heads = head === null ? [...Array(page.heads.counts[layer]).keys()] : [head];
  const tokens = new Float32Array(rows * columns);
  for (const one of heads) {
    const number = numbersOf(layer, one);
    const weight = head === null ? page.slices[shown.place].tops[layer][one] : 1;
    for (let place = 0; place < tokens.length; place += 1) tokens[place] += weight * number(Math.floor(place / columns), place % columns);
  }
  const top = Math.max(...tokens) || 1;
  return tokens.map((value) => (255 * value) / top);
};

// for each pixel the tokens around it and how near the second is; null where the network saw nothing
const between = (length, size, [start, end], first, step, count) => Array.from({ length }, (_, place) => {
  const pixel = (place + 0.5) * size / length - 0.5;
  if (pixel < start || pixel > end) return null;
  const token = (pixel - first) / step;
  const at = Math.min(Math.max(token, 0), count - 1);
  const low = Math.min(Math.floor(at), Math.max(count - 2, 0));
  return [low, Math.min(low + 1, count - 1), at - low];
});

const attentionMap = (layer, head, side) => {
  const { grid: [rows, columns], first, step, area } = page.heads;
  const { width: across, height: down } = sized(canvasOf(1, 1), side);
  const tokens = tokensOf(layer, head);
  const xs = between(across, width, area.slice(2), first[1], step[1], columns);
  const ys = between(down, height, area.slice(0, 2), first[0], step[0], rows);
  return coloured({ across, down, at: (place) => {
    const [beside, above] = [xs[place % across], ys[Math.floor(place / across)]];
    if (!beside || !above) return 0;
    const [left, right, x] = beside;
    const [top, bottom, y] = above;
    const upper = tokens[top * columns + left] * (1 - x) + tokens[top * columns + right] * x;
    const lower = tokens[bottom * columns + left] * (1 - x) + tokens[bottom * columns + right] * x;
    return upper * (1 - y) + lower * y;
  } });
};

const chosenHead = () => (named("head").value === "mean" ? null : Number(named("head").value));

const drawHeads = () => {
  if (!page.heads) return;
  named("no-heads").hidden = Boolean(shown.heads);
  document.querySelector(".attention").hidden = !shown.heads;
  if (!shown.heads) return;
  const layer = Number(named("layer").value);
  const head = chosenHead();
  paint(panes.find((pane) => pane.dataset.pane === "head"), shown.grey, attentionMap(layer, head, 256));
  named("head-name").textContent = `layer ${layer}, ${head === null ? "mean of all heads" : `head ${head}`}`;
  for (const button of named("tiles").children) {
    const own = button.dataset.head === "mean" ? null : Number(button.dataset.head);
    button.setAttribute("aria-pressed", String(own === head));
    paint(button.querySelector("canvas"), shown.grey, attentionMap(layer, own, TILE));
  }
};

const offerHeads = () => {
  const count = page.heads.counts[Number(named("layer").value)];
  const heads = [["mean", "mean of all"], ...Array.from({ length: count }, (_, head) => [String(head), `head ${head}`])];
  const before = named("head").value || "mean";
  named("head").replaceChildren(...heads.map(([value, text]) => new Option(text, value)));
  named("head").value = heads.some(([value]) => value === before) ? before : "mean";
  named("tiles").replaceChildren(...heads.map(([value, text]) => {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    const canvas = sized(canvasOf(1, 1), TILE);
    canvas.style.aspectRatio = document.querySelector(".view").style.getPropertyValue("--ratio");
    button.dataset.head = value;
    button.append(canvas, text);
    button.addEventListener("click", () => { named("head").value = value; drawHeads(); });
    return button;
  }));
  drawHeads();
};

// ---- slices

const draw = () => {
  if (!shown.grey) return;
  for (const pane of panes) {
    if (pane.dataset.pane !== "head") paint(pane, shown.grey, shown.maps[pane.dataset.pane]);
  }
  drawHeads();
};

const show = async (place) => {
  shown.wanted = place;
  const slice = page.slices[place];
  const count = page.slices.length > 1 ? `, ${place + 1} of ${page.slices.length} from below` : "";
  named("where").textContent = `${page.slices.length > 1 ? "" : "slice "}${slice.file} in the file${count}, z = ${String(slice.mm).replace("-", "−")} mm`;
  const [grey, heads, ...maps] = await Promise.all([
    pictureOf(slice.grey), slice.heads ? valuesOf(slice.heads) : null, ...slice.maps.map(valuesOf),
  ]);
  if (shown.wanted !== place) return; // the slider has moved on
  Object.assign(shown, { place, grey, heads, maps: maps.map(coloured) });
  for (const path of document.querySelectorAll(".outline path")) path.setAttribute("d", slice.outline);
  draw();
  document.body.dataset.shown = place;
};

const tell = (error) => Object.assign(named("trouble"), { hidden: false, textContent: `This browser cannot show the maps (${error.message}).` });

named("slice")?.addEventListener("input", (event) => show(Number(event.target.value)).catch(tell));
named("opacity").addEventListener("input", draw);
if (page.heads) {
  named("layer").addEventListener("change", offerHeads);
  named("head").addEventListener("change", drawHeads);
  offerHeads();
}
show(shown.place).catch(tell);
