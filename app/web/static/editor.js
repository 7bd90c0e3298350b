// Correct the boxes of a page: move, resize, draw, delete, undo. Coordinates are pixels of the full-size image.

const picture = document.querySelector("#picture");
const form = document.querySelector("#editor");
const [width, height] = [Number(picture.dataset.width), Number(picture.dataset.height)];
const LEAST_SIDE = 2;
const MOST_ZOOM = 6;
const svg = create("svg", { class: "edit", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none" });
svg.setAttribute("role", "application");
svg.setAttribute("aria-label", picture.dataset.help);
const layer = svg.appendChild(create("g", {}));
const handles = svg.appendChild(create("path", { class: "handles" }));
const find = (id) => document.getElementById(id);

let boxes = JSON.parse(picture.dataset.boxes).map((box) => clip(...box.xywh, box.class_name));
let selected = -1;
let drag = null;
let zoom = 0;
let history = [JSON.stringify(boxes)]; // states of the page; `place` is the present one
let place = 0;
let isSaving = false;

function create(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function clamp(value, least, most) {
  return Math.min(Math.max(value, least), most);
}

function clip(x, y, w, h, name) {
  [x, y] = [clamp(x, 0, width - LEAST_SIDE), clamp(y, 0, height - LEAST_SIDE)];
  return { x, y, w: clamp(w, LEAST_SIDE, width - x), h: clamp(h, LEAST_SIDE, height - y), name };
}

function show() {
  while (layer.children.length > boxes.length) layer.lastChild.remove();
  while (layer.children.length < boxes.length) layer.append(create("rect", { tabindex: "0", role: "img" }));
  boxes.forEach((box, index) => {
    const rect = layer.children[index];
    for (const [key, value] of Object.entries({ x: box.x, y: box.y, width: box.w, height: box.h })) rect.setAttribute(key, value);
    const facts = { ...box, number: index + 1, count: boxes.length };
    rect.setAttribute("aria-label", fill(picture.dataset.label, facts));
    rect.classList.toggle("selected", index === selected);
  });
  const box = boxes[selected];
  const [xs, ys] = box ? [[box.x, box.x + box.w / 2, box.x + box.w], [box.y, box.y + box.h / 2, box.y + box.h]] : [[], []];
  const points = xs.flatMap((x, i) => ys.filter((_, j) => i !== 1 || j !== 1).map((y) => `M${x} ${y}h0`));
  handles.setAttribute("d", points.join("")); // empty lines with square ends: they have the same size at every zoom
  if (box && document.activeElement !== find("class-name")) find("class-name").value = box.name;
  find("delete-box").disabled = !box;
  find("undo").disabled = place === 0;
  find("redo").disabled = place === history.length - 1;
  const count = fill(find("edited").dataset.text, { count: boxes.length });
  find("edited").value = hasChanged() ? `${count}, ${find("edited").dataset.changed}` : count;
}

function fill(text, facts) {
  return text.replace(/\{(\w+)\}/g, (_, name) => facts[name]);
}

function hasChanged() {
  return history[place] !== history[0];
}

function select(index) {
  selected = index;
  show();
  if (index >= 0) layer.children[index].focus({ preventScroll: true });
}

// Keep the present boxes as a new state. A repeated key changes the last state instead.
function record(isRepeated = false) {
  const state = JSON.stringify(boxes);
  if (state !== history[place]) {
    if (!isRepeated || place === 0) place += 1;
    history = [...history.slice(0, place), state];
  }
  show();
}

function travel(step) {
  if (!history[place + step]) return;
  place += step;
  boxes = JSON.parse(history[place]);
  select(Math.min(selected, boxes.length - 1));
}

function add(box) {
  boxes.push({ ...box, name: find("class-name").value.trim() || boxes.at(-1)?.name || "illustration" });
  record();
  select(boxes.length - 1);
}

function addInTheMiddle() {
  const [w, h] = [Math.round(width / 4), Math.round(height / 4)];
  add(clip(Math.round((width - w) / 2), Math.round((height - h) / 2), w, h));
}

function remove() {
  if (!boxes[selected]) return;
  boxes.splice(selected, 1);
  record();
  select(Math.min(selected, boxes.length - 1));
}

function locate(event) {
  const area = svg.getBoundingClientRect();
  const point = [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
  const reach = ((event.pointerType === "mouse" ? 7 : 16) * width) / area.width;
  return { x: Math.round(clamp(point[0], 0, 1) * width), y: Math.round(clamp(point[1], 0, 1) * height), reach };
}

// Return the box at a point and its edges that are near. Edges of the selected box come first, then the smallest box.
function pick(at) {
  const own = touch(selected, at);
  if (own && (own.across || own.down)) return own;
  const order = boxes.map((_, index) => index).sort((a, b) => boxes[a].w * boxes[a].h - boxes[b].w * boxes[b].h);
  return order.map((index) => touch(index, at)).find(Boolean) ?? null;
}

function touch(index, { x, y, reach }) {
  const box = boxes[index];
  if (!box || x < box.x - reach || x > box.x + box.w + reach || y < box.y - reach || y > box.y + box.h + reach) return null;
  const nearer = (start, length, value) => {
    const most = Math.min(reach, length / 3 + 1);
    return value - start < most ? -1 : start + length - value < most ? 1 : 0;
  };
  return { index, across: nearer(box.x, box.w, x), down: nearer(box.y, box.h, y) };
}

// Return a box with its edge at another place. It does not cross the opposite edge, and stays on the page.
function resize(box, across, down, dx, dy) {
  let [left, top, right, bottom] = [box.x, box.y, box.x + box.w, box.y + box.h];
  if (across < 0) left = clamp(left + dx, 0, right - LEAST_SIDE);
  if (across > 0) right = clamp(right + dx, left + LEAST_SIDE, width);
  if (down < 0) top = clamp(top + dy, 0, bottom - LEAST_SIDE);
  if (down > 0) bottom = clamp(bottom + dy, top + LEAST_SIDE, height);
  return { ...box, x: left, y: top, w: right - left, h: bottom - top };
}

function move(box, dx, dy) {
  return { ...box, x: clamp(box.x + dx, 0, width - box.w), y: clamp(box.y + dy, 0, height - box.h) };
}

svg.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || drag) return;
  event.preventDefault();
  find("class-name").blur(); // a typed name belongs to the box that was selected so far
  const from = locate(event);
  const found = event.shiftKey ? null : pick(from); // with Shift, a box is drawn inside of another one
  svg.setPointerCapture(event.pointerId);
  select(found ? found.index : -1);
  drag = { from, found, pointer: event.pointerId, box: found && boxes[found.index] };
});

svg.addEventListener("pointermove", (event) => {
  const at = locate(event);
  if (!drag) {
    const found = pick(at);
    const names = { "0,0": "move", "1,0": "ew", "0,1": "ns", "1,1": "nwse", "1,-1": "nesw" };
    const sign = found?.across ? found.across : Math.abs(found?.down ?? 0);
    svg.setAttribute("data-cursor", found ? names[[Math.abs(found.across), found.across ? found.down * sign : sign]] : "draw");
    return;
  }
  if (event.pointerId !== drag.pointer) return;
  const [dx, dy] = [at.x - drag.from.x, at.y - drag.from.y];
  if (drag.found) {
    const { index, across, down } = drag.found;
    boxes[index] = across || down ? resize(drag.box, across, down, dx, dy) : move(drag.box, dx, dy);
  } else if (Math.abs(dx) >= LEAST_SIDE && Math.abs(dy) >= LEAST_SIDE && Math.max(Math.abs(dx), Math.abs(dy)) > at.reach) {
    const drawn = clip(Math.min(at.x, drag.from.x), Math.min(at.y, drag.from.y), Math.abs(dx), Math.abs(dy), find("class-name").value.trim());
    if (!drag.isDrawn) boxes.push(drawn);
    drag.isDrawn = true;
    boxes[boxes.length - 1] = drawn;
    selected = boxes.length - 1;
  }
  show();
});

function drop(event) {
  if (event.pointerId !== drag?.pointer) return;
  const { isDrawn } = drag;
  drag = null;
  if (event.type === "pointercancel") boxes = JSON.parse(history[place]);
  else if (isDrawn) add(boxes.pop());
  else record();
  select(Math.min(selected, boxes.length - 1));
}
svg.addEventListener("pointerup", drop);
svg.addEventListener("pointercancel", drop);

svg.addEventListener("focusin", (event) => {
  const index = [...layer.children].indexOf(event.target);
  if (index < 0 || drag) return;
  selected = index;
  event.target.scrollIntoView({ block: "nearest", inline: "nearest" });
  show();
});

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function press(event) {
  const isCommand = event.ctrlKey || event.metaKey;
  if (event.target.closest("input") || drag) return;
  if (isCommand && event.key.toLowerCase() === "z") travel(event.shiftKey ? 1 : -1);
  else if (isCommand && event.key.toLowerCase() === "y") travel(1);
  else if (isCommand) return;
  else if (ARROWS[event.key] && boxes[selected]) {
    const [dx, dy] = ARROWS[event.key].map((each) => each * (event.shiftKey ? 10 : 1));
    const box = boxes[selected];
    boxes[selected] = event.altKey ? resize(box, Math.abs(dx), Math.abs(dy), dx, dy) : move(box, dx, dy);
    record(event.repeat);
  } else if (["Delete", "Backspace"].includes(event.key)) remove();
  else if (event.key === "Escape") select(-1);
  else if (event.key.toLowerCase() === "a") addInTheMiddle();
  else if (event.key === "+") enlarge(1);
  else if (event.key === "-") enlarge(-1);
  else return;
  event.preventDefault();
}

// At zoom 0, the whole page is visible.
function enlarge(step) {
  zoom = clamp(zoom + step, 0, MOST_ZOOM);
  picture.style.width = `calc(${1.5 ** zoom} * min(100%, ${(84 * width) / height}vh))`;
  if (boxes[selected]) layer.children[selected].scrollIntoView({ block: "center", inline: "center" });
}

// A reload ends the viewer for the zoom, and the mode of the page.
function start() {
  if (picture.classList.contains("zoomed")) {
    location.hash = "correct";
    location.reload();
    return;
  }
  document.body.classList.add("editing");
  picture.append(svg);
  form.hidden = false;
  addEventListener("keydown", press);
  enlarge(0);
  show();
  if (boxes.length) select(0);
  document.querySelector(".viewer").scrollIntoView();
}

find("correct").hidden = false;
find("correct").addEventListener("click", start);
find("add-box").addEventListener("click", addInTheMiddle);
find("delete-box").addEventListener("click", remove);
find("undo").addEventListener("click", () => travel(-1));
find("redo").addEventListener("click", () => travel(1));
find("larger").addEventListener("click", () => enlarge(1));
find("smaller").addEventListener("click", () => enlarge(-1));
find("stop").addEventListener("click", () => {
  isSaving = true; // the person has said so
  sessionStorage.removeItem("draft");
  window.history.replaceState(null, "", location.pathname);
  location.reload();
});
find("class-name").addEventListener("change", (event) => {
  const name = event.target.value.trim();
  if (!boxes[selected] || !name) return;
  boxes[selected] = { ...boxes[selected], name };
  record();
});
find("corrector").value = localStorage.getItem("corrector") ?? "";
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.matches("input")) {
    event.preventDefault(); // would save the page
    event.target.blur();
  }
});
form.addEventListener("submit", () => {
  isSaving = true;
  localStorage.setItem("corrector", find("corrector").value);
  sessionStorage.setItem("draft", JSON.stringify({ path: location.pathname, boxes }));
  form.elements.boxes.value = JSON.stringify(boxes.map(({ x, y, w, h, name }) => ({ xywh: [x, y, w, h], class_name: name })));
});
addEventListener("beforeunload", (event) => {
  if (hasChanged() && !isSaving) event.preventDefault();
});

// Boxes that were sent but not saved, because the session had ended or the server was away, are shown again.
const draft = JSON.parse(sessionStorage.getItem("draft"));
if (document.querySelector(".message.done")) sessionStorage.removeItem("draft");
else if (draft?.path === location.pathname) boxes = draft.boxes;
record();
if (location.hash === "#correct" || hasChanged()) start();
