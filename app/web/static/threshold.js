// The slider hides detections below a confidence. It changes the page only, not the result.

const slider = document.querySelector("#threshold");

function apply() {
  const least = Number(slider.value);
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
}

if (slider) {
  slider.closest("[hidden]").hidden = false;
  slider.addEventListener("input", apply);
}
