// <loco-mixer>: one image, up to three directions, a slider each. While a slider moves, the first-order preview is drawn
// from one answer: image + sum of strength * J v. When it is let go, the exact render replaces it.
import { get, picture } from './api.js';
import { guard, h, number, signed } from './ui.js';

const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));

export class Mixer extends HTMLElement {
  // Given before it is connected: { image, parts: [{ id, strength? }], changed }
  async setup({ image, parts, changed }) {
    Object.assign(this, { image, changed: changed ?? (() => {}), strengths: new Map(parts.map((one) => [one.id, one.strength])) });
    const found = await get('/previews', { image, direction: parts.map((one) => one.id) });
    this.size = [found.width, found.height];
    this.name = found.name;
    this.input = bytes(found.image);
    this.parts = found.parts.map((one) => ({ ...one, data: new Int16Array(bytes(one.response).buffer) }));
    for (const one of this.parts) if (this.strengths.get(one.direction.id) === undefined) this.strengths.set(one.direction.id, one.strength);
    this.build();
    this.draw();
    this.exact();
  }

  get mix() { return this.parts.map((one) => [one.direction, this.strengths.get(one.direction.id)]); }

  build() {
    const [width, height] = this.size;
    this.canvas = h('canvas', { width, height, role: 'img', 'aria-label': `${this.name}, edited` });
    this.before = h('canvas', { width, height, class: 'before', role: 'img', 'aria-label': `${this.name}, as it is` });
    this.paint(this.before, this.input);
    this.exactImage = h('img', { alt: '', hidden: true });
    this.stage = h('div', { class: 'canvas' }, this.canvas, this.exactImage, this.before, h('div', { class: 'line', 'aria-hidden': 'true' }));
    this.stage.style.aspectRatio = `${width} / ${height}`;
    this.state = h('span', { class: 'soft small', role: 'status' });
    const wipe = h('input', { type: 'range', min: 0, max: 100, value: 0, oninput: (event) => { this.stage.style.setProperty('--wipe', `${event.target.value}%`); this.stage.toggleAttribute('data-wiped', event.target.value !== '0'); } });
    this.sliders = this.parts.map((part) => this.slider(part));
    this.replaceChildren(h('div', { class: 'stage' }, h('div', {}, this.stage, h('label', { class: 'field' }, 'Before, from the left', wipe)),
      h('div', {}, this.sliders.map((one) => one.element), h('p', {}, this.state))));
  }

  slider(part) {
    const { direction } = part;
    const most = Math.max(2 * Math.abs(part.strength), Math.abs(this.strengths.get(direction.id)), 1e-6);
    const step = Number((most / 40).toPrecision(1));
    const range = h('input', { type: 'range', min: -most, max: most, step: 'any', 'aria-label': `Strength of ${direction.roi} ${direction.short.slice(0, 8)}` });
    const box = h('input', { type: 'number', step: 'any', 'aria-label': 'Strength as a number' });
    const put = (value, exact) => {
      const next = Math.abs(value) < step / 2 ? 0 : Number(value.toPrecision(3));
      this.strengths.set(direction.id, next); range.value = next; box.value = next;
      range.setAttribute('aria-valuetext', signed(next));
      this.draw();
      if (exact) this.exact();
    };
    range.addEventListener('input', () => put(Number(range.value), false));
    range.addEventListener('change', () => put(Number(range.value), true));
    box.addEventListener('change', () => put(Number(box.value) || 0, true));
    const linear = direction.linear_range ? `, linear to ${number(direction.linear_range)}` : '';
    const element = h('div', { class: 'mix' }, h('div', { class: 'title' }, h('a', { href: `/directions/${direction.id}` }, direction.labels[0] ?? direction.roi), ' ', h('span', { class: 'soft small mono' }, direction.short.slice(0, 8)), h('span', { class: 'soft small' }, ` suited ±${number(part.strength)}${linear}`)),
      range, box, h('button', { type: 'button', onclick: () => put(0, true) }, '0'));
    range.value = this.strengths.get(direction.id); box.value = this.strengths.get(direction.id);
    return { element, nudge: (times) => put(this.strengths.get(direction.id) + times * step, true) };
  }

  nudge(times) { this.sliders?.[0]?.nudge(times); }

  draw() {
    const began = performance.now();
    const [width, height] = this.size;
    const sum = new Float32Array(width * height * 3);
    for (const { data, scale, direction } of this.parts) {
      const times = this.strengths.get(direction.id) * scale;
      if (times) for (let at = 0; at < sum.length; at += 1) sum[at] += times * data[at];
    }
    const out = new Uint8Array(sum.length);
    for (let at = 0; at < sum.length; at += 1) out[at] = Math.max(0, Math.min(255, Math.round(this.input[at] + sum[at])));
    this.exactImage.hidden = true;
    this.paint(this.canvas, out);
    this.dataset.preview = String(Math.round((performance.now() - began) * 10) / 10);
    this.state.textContent = 'first order';
    this.changed(this.mix);
  }

  paint(canvas, rgb) {
    const [width, height] = this.size;
    const pixels = new ImageData(width, height);
    for (let from = 0, at = 0; from < rgb.length; from += 3, at += 4) {
      pixels.data[at] = rgb[from]; pixels.data[at + 1] = rgb[from + 1]; pixels.data[at + 2] = rgb[from + 2]; pixels.data[at + 3] = 255;
    }
    canvas.getContext('2d').putImageData(pixels, 0, 0);
  }

  exact() {
    clearTimeout(this.soon);
    this.soon = setTimeout(guard(async () => {
      this.gone?.abort();
      this.gone = new AbortController();
      this.state.textContent = 'rendering exactly…';
      const mix = this.mix.map(([one, strength]) => `${one.id}:${strength}`);
      const { src } = await picture('/render.png', { image: this.image, mix }, this.gone.signal);
      this.exactImage.onload = () => URL.revokeObjectURL(src);
      this.exactImage.src = src; this.exactImage.hidden = false;
      this.exactImage.alt = `${this.name} with ${this.mix.map(([one, strength]) => `${one.roi} ${signed(strength)}`).join(', ')}`;
      this.state.textContent = 'exact, 10 steps each way';
    }), 120);
  }

  disconnectedCallback() { clearTimeout(this.soon); this.gone?.abort(); }
}
customElements.define('loco-mixer', Mixer);
