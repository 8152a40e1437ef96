// Small things that every view is made of. Text is only ever set as text.
import { picture, session, send, signIn, may } from './api.js';

export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'value') element.value = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false));
  return element;
}

export const number = (value) => {
  if (value === null || value === undefined) return '–';
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (typeof value !== 'number') return String(value);
  if (Number.isInteger(value)) return String(value);
  return Math.abs(value) >= 1000 || (value !== 0 && Math.abs(value) < 0.001) ? value.toExponential(2) : String(Number(value.toPrecision(3)));
};
export const signed = (value) => (value > 0 ? '+' : value < 0 ? '−' : '') + number(Math.abs(value));
export const when = (text) => (text ? text.slice(0, 16).replace('T', ' ') : '–');

export function say(text, bad = false) {
  document.getElementById('live').textContent = text;
  document.querySelector('.toast')?.remove();
  const toast = h('div', { class: 'toast' }, (bad ? 'Not done: ' : '') + text);
  document.body.append(toast);
  setTimeout(() => toast.remove(), bad ? 8000 : 3500);
}

export const guard = (work) => async (...given) => {
  try { return await work(...given); } catch (error) {
    if (error.name === 'AbortError') return undefined;
    if (error.status === 401) { await askToken(); return undefined; }
    say(error.message, true);
    return undefined;
  }
};

export async function copy(text, what) {
  try { await navigator.clipboard.writeText(text); } catch {
    const area = h('textarea', {}, text);
    document.body.append(area); area.select(); document.execCommand('copy'); area.remove();
  }
  say(`${what} copied`);
}

export function ask(title, fields, action = 'Save') {
  return new Promise((resolve) => {
    const inputs = fields.map((one) => h('input', { name: one.name, type: one.type ?? 'text', maxlength: one.most ?? 200, required: one.optional ? null : true, value: one.value ?? '', list: one.list ?? null, autocomplete: 'off' }));
    const dialog = h('dialog', { 'aria-label': title },
      h('form', { method: 'dialog', onsubmit: () => { answer = Object.fromEntries(inputs.map((one) => [one.name, one.value.trim()])); } },
        h('h2', {}, title), ...fields.map((one, n) => h('label', { class: 'field' }, one.label, inputs[n])),
        h('p', {}), h('div', { class: 'row' }, h('button', { class: 'main' }, action), h('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel'))));
    let answer = null;
    dialog.addEventListener('close', () => { dialog.remove(); resolve(answer); });
    document.body.append(dialog); dialog.showModal(); inputs[0]?.focus();
  });
}

export async function askToken() {
  const found = await ask('Sign in', [{ name: 'token', label: 'A token: `loco serve` prints one, `loco token add NAME` makes others', type: 'password' }], 'Sign in');
  if (!found) return;
  try { await signIn(found.token); say(`Signed in as ${session.name}`); document.dispatchEvent(new CustomEvent('signed')); } catch (error) { say(error.message, true); }
}

// Saying something of several directions at once.
export async function decide(action, ids) {
  if (!may('label')) { await askToken(); if (!may('label')) return false; }
  let text = '';
  if (action === 'label' || action === 'unlabel') {
    const found = await ask(action === 'label' ? 'Label' : 'Take a label away', [{ name: 'text', label: `What ${ids.length > 1 ? 'they do' : 'it does'}, in your own words` }], action === 'label' ? 'Label' : 'Take away');
    if (!found) return false; text = found.text;
  } else if (action === 'alias') {
    const found = await ask('Alias', [{ name: 'text', label: 'A name that stands for the id, such as smile@prod' }]);
    if (!found) return false; text = found.text;
  } else if (action === 'reject') {
    const found = await ask('Reject', [{ name: 'text', label: 'Why (may stay empty)', optional: true }], 'Reject');
    if (!found) return false; text = found.text;
  } else if (action === 'accept') { action = 'label'; text = 'accepted'; }
  await send('POST', '/events', { action, ids, text });
  say(`${{ label: 'labelled', unlabel: 'without that label', alias: 'named', reject: 'rejected', restore: 'restored' }[action] ?? action}: ${ids.length} direction${ids.length > 1 ? 's' : ''}`);
  return true;
}

// <loco-strip>: the picture of a direction, loaded when it comes into view.
const seen = new IntersectionObserver((entries) => {
  for (const one of entries) if (one.isIntersecting) { seen.unobserve(one.target); one.target.load(); }
}, { rootMargin: '200px' });

export class Strip extends HTMLElement {
  set direction(one) { this.one = one; }
  connectedCallback() {
    if (!this.one || this.frame) return;
    this.frame = h('div', { class: 'frame' });
    this.append(this.frame);
    seen.observe(this);
  }
  disconnectedCallback() { this.gone?.abort(); seen.unobserve(this); if (this.src) URL.revokeObjectURL(this.src); }
  async load() {
    this.gone = new AbortController();
    try {
      const image = this.getAttribute('image');
      const { src, trouble } = await picture(`/directions/${this.one.id}/picture.png`, image ? { image } : {}, this.gone.signal);
      this.src = src;
      const s = this.one.strength_shown;
      const caps = trouble ? ['region', 'vector'] : [-2 * s, -s, 0, s, 2 * s].map(signed).concat(['change', 'vector']);
      const alt = trouble ? `The region ${this.one.roi}, and the direction about gray`
        : `${this.one.roi}${this.one.labels.length ? ` (${this.one.labels.join(', ')})` : ''} at strengths ${caps.slice(0, 5).join(', ')}; where it changes; the direction about gray`;
      const shown = h('img', { src, alt });
      if (trouble) shown.style.width = '28%';
      this.frame.replaceWith(shown, h('div', { class: 'caps', 'aria-hidden': 'true' }, caps.map((one) => h('span', {}, one))));
      if (trouble) this.append(h('p', { class: 'soft small' }, trouble));
    } catch (error) {
      if (error.name !== 'AbortError') this.frame.replaceChildren(h('p', {}, `No picture: ${error.message}`));
    }
  }
}
customElements.define('loco-strip', Strip);

export function strip(one, image) {
  const found = document.createElement('loco-strip');
  found.direction = one;
  if (image) found.setAttribute('image', image);
  return found;
}

export const called = (one) => one.labels.find((label) => !label.includes('@')) ?? `${one.roi} ${one.index + 1}`;
const further = (one) => one.labels.filter((label) => label !== called(one));

/** What else is said of it, beside what it is called. */
export const names = (one) => h('ul', { class: 'chips', 'aria-label': 'Names' },
  one.scope === 'dataset' ? h('li', { class: 'chip scope' }, `dataset, ${one.images} images`) : null,
  one.rejected ? h('li', { class: 'chip out' }, 'rejected') : null,
  further(one).map((label) => h('li', { class: 'chip' }, label)));

export function figures(one, all, place) {
  const places = one.scope === 'dataset' ? [place, 'across'] : [place];
  const shown = all.filter((figure) => figure.places.some((at) => places.includes(at)) && one[figure.name] !== null && one[figure.name] !== undefined);
  return h('dl', { class: 'figures' }, shown.map((figure) => h('div', { title: `${figure.definition}: ${figure.meaning}` }, h('dt', {}, figure.title), h('dd', {}, number(one[figure.name])))));
}

export function card(one, all, extra = {}) {
  const box = extra.select ? h('input', { type: 'checkbox', 'aria-label': `Select ${one.roi} ${one.short}`, onchange: (event) => extra.select(one, event.target.checked) }) : null;
  if (box) box.checked = Boolean(extra.selected);
  return h('li', { class: 'card', 'data-id': one.id, 'data-rejected': one.rejected || null },
    h('header', {}, h('h3', {}, h('a', { href: `/directions/${one.id}` }, called(one)),
      ' ', h('span', { class: 'soft small mono' }, one.short.slice(0, 8))), box),
    h('div', { class: 'soft small' }, [one.roi, one.scope === 'dataset' ? one.dataset : one.image_name, `t ${number(one.t)}`, one.model_name, extra.note].filter(Boolean).join(' · ')),
    further(one).length || one.rejected || one.scope === 'dataset' ? names(one) : null, strip(one), figures(one, all, 'list'));
}

export const table = (heads, rows) => h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': heads.filter(Boolean).join(', ') }, h('table', {}, h('thead', {}, h('tr', {}, heads.map((one) => h('th', { scope: 'col' }, one)))), h('tbody', {}, rows.map((row) => h('tr', {}, row.map((one) => h('td', {}, one)))))));
