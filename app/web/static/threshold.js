// The slider hides detections below a confidence. It changes the page only, not the result.

const remember = (slider) => `threshold ${slider.closest(".threshold").dataset.remember}`;

function apply() {
  const least = Number(document.querySelector("#threshold").value);
  document.querySelector('output[for="threshold"]').value = least.toFixed(2);
  for (const each of document.querySelectorAll("[data-confidence]")) {
    each.classList.toggle("off", Number(each.dataset.confidence) < least);
  }
  for (const page of document.querySelectorAll("ol.pages > li")) {
    const count = page.querySelector("[data-count]");
    const boxes = page.querySelectorAll("rect").length;
    if (!count || !boxes) continue;
    count.dataset.text ??= count.textContent;
    const left = page.querySelectorAll("rect:not(.off)").length;
    count.textContent = left === boxes ? count.dataset.text : `${left} / ${boxes}`;
  }
  const isEmpty = document.querySelector("[data-confidence]") && !document.querySelector("[data-confidence]:not(.off)");
  const note = document.querySelector("#all-hidden");
  note.textContent = isEmpty ? note.dataset.text : "";
}

// Also after the pages of an unfinished job were replaced, see live.js.
function start() {
  const slider = document.querySelector("#threshold");
  if (!slider) return;
  if (!slider.oninput) slider.value = sessionStorage.getItem(remember(slider)) ?? slider.value;
  slider.closest(".threshold").hidden = false;
  slider.oninput = () => {
    sessionStorage.setItem(remember(slider), slider.value);
    apply();
  };
  apply();
}

document.addEventListener("refreshed", start);
start();
