// Try it: any image of a dataset or one of your own, up to three directions, the command and the Python, and a job.
import { get, may, send, url } from './api.js';
import { askToken, copy, guard, h, say } from './ui.js';
import './mixer.js';

export async function tryIt({ params, go }) {
  const directions = params.getAll('direction');
  const given = params.getAll('mix').map((one) => { const at = one.lastIndexOf(':'); return { id: one.slice(0, at), strength: Number(one.slice(at + 1)) }; });
  const parts = [...given, ...directions.map((id) => ({ id }))].slice(0, 3);
  if (!parts.length) return { content: [h('h1', {}, 'Try it'), h('p', {}, 'Choose a direction first: in the ', h('a', { href: '/directions' }, 'grid'), ', select up to three and compose them.')] };
  const known = await Promise.all(parts.map((one) => get(`/directions/${encodeURIComponent(one.id)}`)));
  const datasets = await get('/datasets');
  const model = known[0];
  let image = params.get('image') ?? (model.scope === 'image' && model.datasets.length ? model.image_id : null);
  let dataset = params.get('dataset') ?? model.datasets[0] ?? (model.scope === 'dataset' ? model.image_name : null) ?? datasets[0]?.name ?? null;
  const mixer = document.createElement('loco-mixer');
  const told = h('div', {});
  const thumbs = h('div', { class: 'thumbs', role: 'group', 'aria-label': 'Images' });
  let uploadName = null;
  let mix = parts.map((one, n) => [known[n], one.strength ?? known[n].strength_shown]);

  const start = guard(async () => {
    if (!image) { mixer.replaceChildren(h('p', { class: 'panel' }, 'Choose an image below, or one of your own.')); return; }
    mixer.replaceChildren(h('p', { class: 'soft' }, 'Inverting the image…'));
    await mixer.setup({ image, parts: mix.map(([one, strength]) => ({ id: one.id, strength })), changed: (now) => { mix = now; remember(); } });
  });
  function remember() {
    const next = new URLSearchParams();
    if (image && !uploadName) next.set('image', image);
    if (dataset) next.set('dataset', dataset);
    for (const [one, strength] of mix) next.append('mix', `${one.id}:${strength}`);
    history.replaceState(null, '', `/try?${next}`);
    draw();
  }
  function draw() {
    const source = uploadName ? `--images ${quote(uploadName)}` : `--dataset ${dataset ?? 'NAME'}`;
    const command = `loco apply ${mix.map(([one, strength]) => `--direction ${one.short}:${strength}`).join(' ')} ${source} --steps 10 --beyond --out edited`;
    const python = ['import loco', 'import registry', '', 'home = registry.open("HOME")', `directions = [home.direction(one) for one in (${mix.map(([one]) => `"${one.short}"`).join(', ')},)]`,
      `model = loco.open_model("SOURCE")  # as it was added: ${model.model_name ?? model.model.slice(0, 12)}`, 'images = loco.open_images("IMAGES", model)',
      `recipe = loco.EditRecipe(t=${model.t}, steps=10, directions=(${mix.map(([one, strength]) => `("${one.id}", ${strength})`).join(', ')},))`,
      'edited = loco.edit(model, images.pixels, recipe, home.vectors(directions))', 'images.save(edited, "edited")'].join('\n');
    told.replaceChildren(h('div', { class: 'row' }, h('h2', {}, 'The same elsewhere'), h('button', { onclick: () => copy(command, 'The command') }, 'Copy the command'), h('button', { onclick: () => copy(python, 'The Python') }, 'Copy the Python')),
      h('pre', { tabindex: 0, 'aria-label': 'The command', id: 'command' }, command), h('details', {}, h('summary', {}, 'Python'), h('pre', { tabindex: 0 }, python)));
  }

  const pictures = guard(async () => {
    if (!dataset) return;
    const found = await get(`/datasets/${encodeURIComponent(dataset)}/images`, { limit: 100 });
    if (!image && found.items.length) { image = found.items[0].id; await start(); }
    thumbs.replaceChildren(...found.items.map((one) => h('button', { type: 'button', title: one.name, 'aria-pressed': String(one.id === image), onclick: (event) => { image = one.id; uploadName = null; for (const each of thumbs.children) each.setAttribute('aria-pressed', String(each === event.currentTarget)); start(); } },
      h('img', { src: url(`/images/${one.id}.png`, { side: 64 }), alt: one.name, loading: 'lazy', width: 56, height: 56 }))));
  });
  const upload = h('input', { type: 'file', accept: 'image/*', onchange: guard(async (event) => {
    const [file] = event.target.files;
    if (!file) return;
    if (!may('read')) { await askToken(); if (!may('read')) return; }
    const kept = await send('POST', '/uploads', file, { 'X-File-Name': encodeURIComponent(file.name) });
    image = kept.id; uploadName = file.name; say(`${file.name}: ${kept.width} × ${kept.height}`);
    for (const each of thumbs.children) each.setAttribute('aria-pressed', 'false');
    await start();
  }) });
  const choose = h('select', { 'aria-label': 'Dataset', onchange: (event) => { dataset = event.target.value; remember(); pictures(); } }, datasets.map((one) => h('option', { value: one.name, selected: one.name === dataset || null }, `${one.name} (${one.images})`)));

  const where = h('select', { 'aria-label': 'Images to apply it to' }, datasets.map((one) => h('option', { value: one.name, selected: one.name === dataset || null }, one.name)));
  const most = h('input', { type: 'number', min: 1, value: 8, 'aria-label': 'Most images' });
  const submit = guard(async () => {
    if (!may('run')) { await askToken(); if (!may('run')) return; }
    const asked = { kind: 'apply', dataset: where.value, limit: Number(most.value) || null, steps: 10, beyond: true, strengths: [1], directions: mix.map(([one, strength]) => ({ id: one.id, weight: strength })) };
    const begun = await send('POST', '/jobs', asked);
    say('The job is starting'); go(`/jobs/${begun.id}`);
  });
  const content = [h('h1', {}, parts.length > 1 ? 'Compose' : 'Try it'), mixer,
    h('div', { class: 'panel' }, h('div', { class: 'row' }, h('h2', {}, 'Image'), choose, h('label', { class: 'row small' }, 'or one of yours ', upload)), thumbs),
    h('div', { class: 'panel' }, told),
    h('div', { class: 'panel' }, h('h2', {}, 'Apply it to many'), h('div', { class: 'row' }, h('label', { class: 'field' }, 'Dataset', where), h('label', { class: 'field' }, 'At most', most), h('button', { class: 'main', id: 'apply', onclick: submit }, 'Apply')))];
  draw();
  return { content, title: 'Try it', shown: () => { start(); pictures(); }, key: (event) => arrows(event, mixer) };
}

const quote = (text) => (/^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

export function arrows(event, mixer) {
  if (event.target.closest?.('input[type=range]')) return false;
  if (event.key === 'ArrowLeft') { mixer.nudge(-4); return true; }
  if (event.key === 'ArrowRight') { mixer.nudge(4); return true; }
  return false;
}
