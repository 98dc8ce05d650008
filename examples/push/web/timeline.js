// The page's own requests as bars, from their sending to their answers: what
// long polling looks like.

import { font, palette, surface, watch } from './chart.js';

const SPAN = 10_000; // milliseconds
const HEIGHT = 22; // of a lane
const LANES = 2;
const AXIS = 18;

export class Timeline {
  #canvas;
  #bars = new Map(); // exchange -> { lane, payloads }
  #color = null; // what a drawing needs of the style
  #font = '';

  constructor(canvas) {
    this.#canvas = canvas;
    canvas.style.height = `${LANES * HEIGHT + AXIS}px`;
    watch(canvas, () => this.draw());
  }

  /** To be called each second: it moves by the second. */
  tick() {
    if (this.#moves()) this.draw();
  }

  /** The colours have changed. */
  forget() {
    this.#color = null;
  }

  #last = 1; // bars at the last drawing

  /** Is there anything to be seen that moves? */
  #moves() {
    const begin = Date.now() - SPAN - 1000;
    for (const old of this.#bars.keys()) if (over(old) && old.answered < begin) this.#bars.delete(old);
    const moves = this.#bars.size > 0 || this.#last > 0;
    this.#last = this.#bars.size;
    return moves;
  }

  /** Takes an exchange of Bosh.onexchange, which comes again when it is over. */
  add(exchange) {
    let bar = this.#bars.get(exchange);
    if (!bar) {
      const busy = new Set();
      for (const [other, { lane }] of this.#bars) if (!over(other)) busy.add(lane);
      let lane = 0;
      while (busy.has(lane) && lane < LANES - 1) lane++;
      this.#bars.set(exchange, bar = { lane, payloads: 0 });
    }
    if (exchange.response) bar.payloads = (exchange.response.match(/<json\b/g) ?? []).length;
  }

  draw() {
    const area = surface(this.#canvas);
    if (!area) return;
    const { g, width } = area;
    this.#color ??= palette();
    this.#font ||= font();
    const color = this.#color;
    const now = Date.now();
    const x = (at) => width - ((now - at) / SPAN) * width;
    g.font = this.#font;
    g.textBaseline = 'middle';
    g.strokeStyle = color('line');
    g.fillStyle = color('quiet');
    for (let s = 1; s * 1000 < SPAN; s++) {
      const at = Math.round(x(now - s * 1000)) + 0.5;
      g.beginPath();
      g.moveTo(at, 0);
      g.lineTo(at, LANES * HEIGHT);
      g.stroke();
      g.textAlign = 'center';
      g.fillText(`−${s} s`, at, LANES * HEIGHT + AXIS / 2 + 1);
    }
    g.textAlign = 'right';
    g.fillText('now', width, LANES * HEIGHT + AXIS / 2 + 1);
    g.textAlign = 'left';
    for (const [exchange, { lane, payloads }] of this.#bars) {
      const from = x(exchange.sent);
      const length = Math.max(3, x(exchange.answered ?? now) - from - 1);
      const top = lane * HEIGHT + 2;
      g.fillStyle = color(kind(exchange, payloads));
      g.globalAlpha = over(exchange) ? 1 : 0.55;
      g.beginPath();
      g.roundRect(from, top, length, HEIGHT - 4, Math.min(4, length / 2));
      g.fill();
      g.globalAlpha = 1;
      if (exchange.attempt > 0) {
        g.fillStyle = color('again');
        g.fillRect(from, top, Math.min(4, length), HEIGHT - 4);
      }
      const room = from + length - Math.max(from, 0) - 14;
      const text = labels(exchange, payloads).find((t) => g.measureText(t).width <= room);
      if (text) {
        g.fillStyle = over(exchange) ? color('on-bar') : color('text');
        g.fillText(text, Math.max(from, 0) + 7, top + HEIGHT / 2 - 1.5);
      }
    }
  }
}

function over(exchange) {
  return exchange.answered !== undefined;
}

function kind(exchange, payloads) {
  if (exchange.error) return 'broken';
  return payloads || !over(exchange) ? 'held' : 'empty';
}

/** What a bar says, if there is room for it. */
function labels(exchange, payloads) {
  const rid = `…${String(exchange.rid).slice(-3)}`;
  if (exchange.error) return [`${rid} broken`, 'broken'];
  if (!over(exchange)) return [`${rid} held`, 'held'];
  return payloads ? [`${rid}: ${payloads} payload${payloads > 1 ? 's' : ''}`, `${rid}: ${payloads}`, rid] : [rid];
}
