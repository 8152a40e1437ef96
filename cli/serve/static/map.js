// Directions in the plane: the two main axes of their sketches, coloured by region or name; draw round some to label them.
import { get } from './api.js';
import { decide, guard, h } from './ui.js';

const COLOURS = ['#2f7ed8', '#e8743b', '#2ba471', '#a355c9', '#d13d6f', '#8a7a16', '#1793a5', '#7a5a3c', '#5566dd', '#9aa0a6'];

export async function map({ params, go, refresh }) {
  const asked = Object.fromEntries(params);
  const found = await get('/map', asked);
  const by = (one) => one.label ?? one.roi;
  const counts = new Map();
  for (const one of found.points) counts.set(by(one), (counts.get(by(one)) ?? 0) + 1);
  const kinds = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a));
  const colour = (kind) => COLOURS[Math.min(kinds.indexOf(kind), COLOURS.length - 1)];
  const canvas = h('canvas', { role: 'img', tabindex: 0, 'aria-label': `${found.points.length} directions in the plane of their two main axes` });
  const told = h('p', { class: 'row', role: 'status' }, h('span', { class: 'soft' }, 'Draw round some to select them; click one to open it.'));
  let lasso = [];
  let picked = new Set();
  const place = (one) => [(0.04 + 0.92 * one.x) * canvas.width, (0.04 + 0.92 * one.y) * canvas.height];
  function draw() {
    const context = canvas.getContext('2d');
    context.clearRect(0, 0, canvas.width, canvas.height);
    const size = (found.points.length > 5000 ? 1.6 : found.points.length > 500 ? 3 : 5) * devicePixelRatio;
    for (const one of found.points) {
      const [x, y] = place(one);
      context.globalAlpha = picked.size && !picked.has(one.id) ? 0.25 : 0.85;
      context.fillStyle = colour(by(one));
      context.beginPath(); context.arc(x, y, picked.has(one.id) ? size * 1.4 : size, 0, 7); context.fill();
    }
    context.globalAlpha = 1;
    if (lasso.length > 1) {
      context.strokeStyle = getComputedStyle(canvas).color; context.lineWidth = 2 * devicePixelRatio;
      context.beginPath(); lasso.forEach(([x, y], n) => (n ? context.lineTo(x, y) : context.moveTo(x, y))); context.closePath(); context.stroke();
    }
  }
  const at = (event) => { const box = canvas.getBoundingClientRect(); return [(event.clientX - box.left) / box.width * canvas.width, (event.clientY - box.top) / box.height * canvas.height]; };
  const within = ([x, y], ring) => ring.reduce((inside, [ax, ay], n) => { const [bx, by_] = ring[(n + 1) % ring.length]; return (ay > y) !== (by_ > y) && x < (bx - ax) * (y - ay) / (by_ - ay) + ax ? !inside : inside; }, false);
  canvas.addEventListener('pointerdown', (event) => { canvas.setPointerCapture(event.pointerId); lasso = [at(event)]; });
  canvas.addEventListener('pointermove', (event) => { if (lasso.length) { lasso.push(at(event)); draw(); } });
  canvas.addEventListener('pointerup', (event) => {
    const ring = lasso; lasso = [];
    const spread = ring.length ? Math.max(...ring.map(([x, y]) => Math.hypot(x - ring[0][0], y - ring[0][1]))) : 0;
    if (spread < 6 * devicePixelRatio) {
      const [x, y] = at(event);
      const near = found.points.map((one) => [Math.hypot(place(one)[0] - x, place(one)[1] - y), one]).sort((a, b) => a[0] - b[0])[0];
      if (near && near[0] < 14 * devicePixelRatio) go(`/directions/${near[1].id}`);
      return;
    }
    picked = new Set(found.points.filter((one) => within(place(one), ring)).map((one) => one.id).slice(0, 200));
    const ids = [...picked];
    const act = (action) => guard(async () => { if (await decide(action, ids)) refresh(); });
    told.replaceChildren(h('strong', {}, `${picked.size} selected`), ...(ids.length ? [h('button', { class: 'main', onclick: act('label') }, 'Label'), h('button', { onclick: act('reject') }, 'Reject')] : []));
    draw();
  });
  const size = () => { const box = canvas.getBoundingClientRect(); if (!box.width) return; canvas.width = box.width * devicePixelRatio; canvas.height = box.height * devicePixelRatio; draw(); };
  const watch = new ResizeObserver(size);
  const legend = h('div', { class: 'legend' }, kinds.slice(0, 12).map((kind) => { const dot = h('i', {}); dot.style.setProperty('--dot', colour(kind)); return h('span', {}, dot, `${kind} (${counts.get(kind)})`); }));
  return { content: [h('h1', {}, 'Map'), h('p', { class: 'soft' }, `${found.points.length.toLocaleString('en')} of ${found.total.toLocaleString('en')} directions by the two main axes of their vectors' sketches${found.explained ? `, which hold ${Math.round(100 * found.explained)} % of the variance` : ''}. `, h('a', { href: `/directions${location.search}` }, 'As cards')), legend, told, h('div', { class: 'map' }, canvas)], shown: () => { watch.observe(canvas); size(); }, close: () => watch.disconnect() };
}
