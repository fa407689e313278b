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
const valueAt = ([low, high, start, end, log], position) => {
  const share = (position - start) / (end - start);
  return log ? low * (high / low) ** share : low + share * (high - low);
};
const short = (value) => Number(value.toPrecision(4)).toString();
for (const chart of document.querySelectorAll(".chart")) {
  const [across, up] = [chart.dataset.x, chart.dataset.y].map((text) => text.split(" ").map(Number));
  const lines = [...chart.querySelectorAll(".line")].map((line) => ({
    name: line.textContent,
    points: line.getAttribute("d").slice(1).split("L").map((point) => point.split(" ").map(Number)),
  }));
  const told = chart.parentElement.querySelector(".readout");
  chart.addEventListener("pointermove", (event) => {
    const { x } = new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse());
    const near = lines.map(({ points }) => points.reduce((best, one) => (Math.abs(one[0] - x) < Math.abs(best[0] - x) ? one : best)));
    const first = near.reduce((best, one) => (Math.abs(one[0] - x) < Math.abs(best[0] - x) ? one : best));
    const values = near.map((point, at) => `${lines[at].name} ${short(valueAt(up, point[1]))}`);
    told.textContent = `at ${short(valueAt(across, first[0]))}: ${values.join(" · ")}`;
  });
  chart.addEventListener("pointerleave", () => { told.textContent = ""; });
}
