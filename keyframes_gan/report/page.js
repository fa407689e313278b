"use strict";
for (const figure of document.querySelectorAll(".compare")) {
  const range = figure.querySelector("input");
  const stack = figure.querySelector(".stack");
  const move = () => stack.style.setProperty("--at", `${range.value}%`);
  range.addEventListener("input", move);
  move();
}
for (const choice of document.querySelectorAll("select[data-choose]")) {
  const side = choice.dataset.choose;
  choice.addEventListener("change", () => {
    const show = choice.closest(".show");
    for (const picture of show.querySelectorAll("img[data-version]")) {
      picture.toggleAttribute(`data-${side}`, picture.dataset.version === choice.value);
    }
    for (const tag of show.querySelectorAll(`.tag.${side}`)) tag.textContent = choice.value;
  });
}
