/** Runs in the page: every piece of visible text with its contrast to what is behind it, as WCAG defines it. */
export function contrast() {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  canvas.canvas.width = canvas.canvas.height = 1;
  const seen = new Map();
  // The browser itself turns any notation of a colour into red, green, blue and alpha.
  const channels = (color) => {
    if (!seen.has(color)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
      seen.set(
        color,
        [...canvas.getImageData(0, 0, 1, 1).data].map((value, at) => (at === 3 ? value / 255 : value)),
      );
    }
    return seen.get(color);
  };
  const over = (top, below) => [0, 1, 2].map((at) => top[at] * top[3] + below[at] * (1 - top[3])).concat(1);
  const luminance = (color) => {
    const [r, g, b] = color.map((value) =>
      value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4,
    );
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const groundOf = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.push(channels(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const pairs = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim();
    const node = walker.currentNode.parentElement;
    if (!text || ["SCRIPT", "STYLE", "NOSCRIPT", "OPTION"].includes(node.tagName) || !node.checkVisibility()) continue;
    const style = getComputedStyle(node);
    const ground = groundOf(node);
    const color = over(channels(node instanceof SVGElement ? style.fill : style.color), ground);
    const [bright, dark] = [luminance(color), luminance(ground)].sort((a, b) => b - a);
    pairs.push({
      text: text.slice(0, 40),
      ratio: (bright + 0.05) / (dark + 0.05),
      color: color.slice(0, 3).map(Math.round).join(" "),
      ground: ground.slice(0, 3).map(Math.round).join(" "),
      node:
        node.tagName.toLowerCase() +
        (node.getAttribute("class") ? "." + node.getAttribute("class").replace(/ /g, ".") : ""),
    });
  }
  return pairs;
}
