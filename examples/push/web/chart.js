// A line chart of the last two minutes, drawn on a canvas.

const SPAN = 120; // seconds
const PAD = { left: 42, right: 10, top: 10, bottom: 20 };
const SECOND = 42; // to the right, for a second scale

// How large a canvas is, and whether it is in sight. To ask for that at each drawing
// would have the page laid out each time.
const watched = new WeakMap(); // canvas -> { width, height, visible, redraw }
const note = (canvas, changes) => {
  const state = watched.get(canvas);
  Object.assign(state, changes);
  if (state.visible && state.width) state.redraw();
};
const sizes = new ResizeObserver((all) => all.forEach(({ target, contentRect: { width, height } }) => note(target, { width, height })));
const sights = new IntersectionObserver((all) => all.forEach(({ target, isIntersecting }) => note(target, { visible: isIntersecting })));

/** Has a canvas watched, which is to be drawn anew when its size changes or it comes into sight. */
export function watch(canvas, redraw) {
  watched.set(canvas, { width: 0, height: 0, visible: false, redraw });
  sizes.observe(canvas);
  sights.observe(canvas);
}

/** The canvas in CSS pixels, sharp on any screen; null as long as nobody can see it. */
export function surface(canvas) {
  const { width, height, visible } = watched.get(canvas);
  if (!width || !height || !visible || document.hidden) return null;
  const scale = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
  if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
  const g = canvas.getContext('2d');
  g.setTransform(scale, 0, 0, scale, 0, 0);
  g.clearRect(0, 0, width, height);
  return { g, width, height };
}

/** The colours of the style sheet, by their names there, as long as they are what they are. */
export function palette() {
  const style = getComputedStyle(document.documentElement);
  const known = new Map();
  return (name) => {
    if (!known.has(name)) known.set(name, style.getPropertyValue(`--${name}`).trim());
    return known.get(name);
  };
}

export const font = () => `11px ${getComputedStyle(document.body).fontFamily}`;

/** A number for people: three digits at most. */
export function short(n) {
  if (n === null || n === undefined || Number.isNaN(n)) return '–';
  const a = Math.abs(n);
  if (a >= 1e6) return `${trim(n / 1e6)}M`;
  if (a >= 1e4) return `${trim(n / 1e3)}k`;
  return trim(n);
}

function trim(n) {
  const a = Math.abs(n);
  return n.toFixed(a >= 100 || Number.isInteger(n) ? 0 : a >= 10 ? 1 : 2).replace(/(\.\d*?)0+$/, '$1').replace(/\.$/, '');
}

/** The end of a scale that begins at 0, and its step. */
export function scale(max) {
  const rough = Math.max(max, 1e-9) / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((m) => m * power >= rough) * power;
  return { step, end: Math.ceil(max / step - 1e-9) * step || step };
}

export class Chart {
  #canvas;
  #values = []; // elements of the legend
  #title;
  #series;
  #least;
  #points = [];
  #hover = null; // x in pixels
  #color = null; // what a drawing needs of the style
  #font = '';
  #drawn = ''; // what is to be seen, if it will not change by itself

  /**
   * Series are { name, color, second, value(sample) }, where value may return
   * null for want of one. Those that are `second` have a scale of their own, on
   * the right. A scale ends at `least` at the lowest.
   */
  constructor(parent, { title, unit = '', least = 1, series }) {
    this.#title = title;
    this.#series = series;
    this.#least = least;
    const figure = document.createElement('figure');
    figure.className = 'panel chart';
    const caption = figure.appendChild(document.createElement('figcaption'));
    caption.appendChild(document.createElement('h2')).textContent = title;
    if (unit) caption.appendChild(document.createElement('small')).textContent = unit;
    const legend = caption.appendChild(document.createElement('ul'));
    legend.className = 'legend';
    for (const { name, color, second } of series) {
      const item = legend.appendChild(document.createElement('li'));
      item.appendChild(document.createElement('i')).className = color;
      item.append(second ? `${name} (right)` : name, ' ');
      this.#values.push(item.appendChild(document.createElement('b')));
    }
    this.#canvas = figure.appendChild(document.createElement('canvas'));
    this.#canvas.setAttribute('role', 'img');
    this.#canvas.addEventListener('pointermove', (event) => {
      this.#hover = event.offsetX;
      this.draw();
    });
    this.#canvas.addEventListener('pointerleave', () => {
      this.#hover = null;
      this.draw();
    });
    parent.append(figure);
    watch(this.#canvas, () => {
      this.#drawn = '';
      this.draw();
    });
  }

  /** Takes the samples to draw, the oldest first; the list may grow later. */
  show(points) {
    this.#points = points;
    this.draw();
  }

  /** The colours have changed. */
  forget() {
    this.#color = null;
    this.#drawn = '';
  }

  draw() {
    const last = this.#points.at(-1);
    if (!last) return;
    const begin = last.at - SPAN * 1000;
    const visible = this.#points.filter((p) => p.at >= begin);
    this.#say(last);
    const still = this.#color && this.#hover === null && this.#flat(visible, begin) && `${this.#series.map((s) => s.value(last))}`;
    if (still && still === this.#drawn) return;
    const area = surface(this.#canvas);
    this.#drawn = area ? still : '';
    if (!area) return;
    const { g, width, height } = area;
    this.#color ??= palette();
    this.#font ||= font();
    const color = this.#color;
    const pad = this.#series.some((s) => s.second) ? SECOND : PAD.right;
    const inner = { w: width - PAD.left - pad, h: height - PAD.top - PAD.bottom };
    const top = (second) => visible.reduce((m, p) => this.#series.reduce((n, s) => (!s.second === !second ? Math.max(n, s.value(p) ?? 0) : n), m), 0);
    const { step, end } = scale(Math.max(top(false), this.#least));
    const right = pad === SECOND && scale(Math.max(top(true), this.#least));
    const x = (at) => PAD.left + ((at - begin) / (SPAN * 1000)) * inner.w;
    const y = (v) => PAD.top + inner.h * (1 - v / end);
    const y2 = (v) => PAD.top + inner.h * (1 - v / right.end);

    g.font = this.#font;
    g.lineWidth = 1;
    g.strokeStyle = color('line');
    g.fillStyle = color('quiet');
    g.textBaseline = 'middle';
    g.textAlign = 'right';
    for (let v = 0; v <= end * 1.0001; v += step) {
      const at = Math.round(y(v)) + 0.5;
      g.beginPath();
      g.moveTo(PAD.left, at);
      g.lineTo(width - pad, at);
      g.stroke();
      g.fillText(short(v), PAD.left - 7, at);
    }
    if (right) {
      g.textAlign = 'left';
      g.fillStyle = color(this.#series.find((s) => s.second).color);
      for (let v = 0; v <= right.end * 1.0001; v += right.step) g.fillText(short(v), width - pad + 7, Math.round(y2(v)) + 0.5);
      g.fillStyle = color('quiet');
    }
    g.textBaseline = 'alphabetic';
    for (const ago of [90, 60, 30, 0]) {
      g.textAlign = ago ? 'center' : 'right';
      g.fillText(ago ? `−${ago} s` : 'now', x(last.at - ago * 1000), height - 4);
    }

    g.save();
    g.beginPath();
    g.rect(PAD.left, 0, inner.w + (right ? 1 : pad), height);
    g.clip();
    g.lineJoin = 'round';
    for (const s of this.#series) this.#line(g, visible, s, x, s.second ? y2 : y, color(s.color), this.#series.length === 1);
    g.restore();

    if (this.#hover !== null && visible.length) {
      const at = begin + ((this.#hover - PAD.left) / inner.w) * SPAN * 1000;
      const shown = visible.reduce((a, b) => (Math.abs(b.at - at) < Math.abs(a.at - at) ? b : a));
      g.strokeStyle = color('quiet');
      g.beginPath();
      g.moveTo(Math.round(x(shown.at)) + 0.5, PAD.top);
      g.lineTo(Math.round(x(shown.at)) + 0.5, height - PAD.bottom);
      g.stroke();
      this.#say(shown);
    }
  }

  /** Has the legend and the label say what a sample is. */
  #say(sample) {
    const words = this.#series.map((s, i) => {
      const text = short(s.value(sample));
      if (this.#values[i].textContent !== text) this.#values[i].textContent = text;
      return `${s.name} ${text}`;
    });
    const label = `${this.#title}: ${words.join(', ')}`;
    if (this.#canvas.getAttribute('aria-label') !== label) this.#canvas.setAttribute('aria-label', label);
  }

  /** Do the points fill the chart with level lines, which look the same a second later? */
  #flat(points, begin) {
    if (points[0].at > begin + 3000) return false;
    return this.#series.every((s) => points.every((p) => s.value(p) === s.value(points[0])));
  }

  #line(g, points, { value }, x, y, color, fill) {
    let run = []; // of points without a gap
    const stroke = () => {
      if (!run.length) return;
      g.beginPath();
      for (const [px, py] of run) g.lineTo(px, py);
      g.strokeStyle = g.fillStyle = color;
      g.lineWidth = 1.75;
      g.stroke();
      if (run.length === 1) g.fillRect(run[0][0] - 1.5, run[0][1] - 1.5, 3, 3);
      else if (fill) {
        g.lineTo(run.at(-1)[0], y(0));
        g.lineTo(run[0][0], y(0));
        g.globalAlpha = 0.12;
        g.fill();
        g.globalAlpha = 1;
      }
      run = [];
    };
    let before = null;
    for (const p of points) {
      const v = value(p);
      if (v === null || (before && p.at - before.at > 3500)) stroke();
      if (v !== null) run.push([x(p.at), y(v)]);
      before = p;
    }
    stroke();
  }
}
