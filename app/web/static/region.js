// Draw the rectangle to search for, while the form for it is open.

const form = document.querySelector("details.region");
const boxes = document.querySelector("#picture svg.boxes");

function toImage(event) {
  const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(boxes.getScreenCTM().inverse());
  const { width, height } = boxes.viewBox.baseVal;
  return [Math.min(Math.max(Math.round(x), 0), width), Math.min(Math.max(Math.round(y), 0), height)];
}

if (form && boxes) {
  const picture = document.querySelector("#picture");
  const drawn = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  drawn.classList.add("region");
  let start = null;
  form.addEventListener("toggle", () => picture.classList.toggle("drawing", form.open));
  picture.addEventListener("pointerdown", (event) => {
    if (!form.open || document.body.classList.contains("editing")) return;
    event.preventDefault();
    event.stopPropagation();
    start = toImage(event);
    boxes.append(drawn);
    picture.setPointerCapture(event.pointerId);
  }, true);
  picture.addEventListener("pointermove", (event) => {
    if (!start) return;
    const end = toImage(event);
    const [left, top] = [Math.min(start[0], end[0]), Math.min(start[1], end[1])];
    const [width, height] = [Math.abs(end[0] - start[0]), Math.abs(end[1] - start[1])];
    for (const [name, value] of Object.entries({ x: left, y: top, width, height })) drawn.setAttribute(name, value);
    if (width && height) form.querySelector("#region").value = [left, top, width, height].join(",");
  });
  picture.addEventListener("pointerup", () => (start = null));
}
