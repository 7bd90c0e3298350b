// The slider fades between two prints that are laid over each other.

const slider = document.querySelector("#fade");
slider?.addEventListener("input", () => document.querySelector("#second").setAttribute("opacity", slider.value));
