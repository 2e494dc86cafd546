// SPDX-License-Identifier: Apache-2.0
// Compare a GGUF result of llmq with llama.cpp, through the npm package node-llama-cpp.
//
//     mkdir scratch && cd scratch && npm install node-llama-cpp
//     node .../tools/check_gguf.mjs LLMQ FOLDER TEXT...
//
// LLMQ is the program, FOLDER a result of --format gguf with a tokenizer, each TEXT a file whose
// beginning is used. A TEXT that ends in .json is a list of token ids, for a result without one:
// then log-probabilities are all that is compared.
// Checked: llama.cpp loads the file; both make the same ids of the texts; the log-probabilities of
// each text's first 128 tokens agree; llama.cpp's greedy continuation of each text's first tokens
// is what llmq ranks first too. llama.cpp rounds activations to 8 bits before it multiplies them
// with quantized weights, which llmq does not: so the comparison is made twice, with the file as it
// is (loose) and with everything expanded to F32 (tight), which leaves names, order of rows,
// metadata and rotary embedding to tell apart, up to float32 arithmetic.
//
// Needs network access once, for npm: not run by the test suite.
import {execFileSync} from "node:child_process";
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from "node:fs";
import {tmpdir} from "node:os";
import {join} from "node:path";
import {pathToFileURL} from "node:url";

const LOOSE = 0.15, TIGHT = 2e-4; // mean difference of log-probabilities
const GELU = 1e-3; // the tight one where llama.cpp takes GELU from its table in F16
const SCORED = 128, PROMPT = 12, GREEDY = 32; // tokens
const TEXT_BYTES = 4096;

const [llmq, folder, ...textFiles] = process.argv.slice(2);
if (textFiles.length === 0) {
    console.error("usage: node check_gguf.mjs LLMQ FOLDER TEXT...");
    process.exit(2);
}
const {getLlama} = await import(
    pathToFileURL(join(process.cwd(), "node_modules/node-llama-cpp/dist/index.js")));
const config = readFileSync(join(folder, "config.json"), "utf8");
const tight = /"hidden_act(ivation)?": *"gelu/.test(config) ? GELU : TIGHT;
const scratch = mkdtempSync(join(tmpdir(), "check_gguf-"));

// --- llmq ---------------------------------------------------------------------------------------

function run(args, input) {
    return JSON.parse(execFileSync(llmq, args, {input, stdio: ["pipe", "pipe", "ignore"],
        maxBuffer: 1 << 28}));
}

const tokenize = (text) => run(["tokenize", "--model", folder, "--text", "-", "--json"], text);

function score(ids) {
    const file = join(scratch, "logits.safetensors");
    const result = run(["score", "--model", folder, "--ids", ids.join(","), "--logits", file,
        "--json"]);
    const bytes = readFileSync(file);
    const begin = 8 + Number(bytes.readBigUInt64LE(0));
    const logits = new Float32Array(bytes.buffer.slice(bytes.byteOffset + begin));
    return {logprobs: result.logprobs, logits, width: logits.length / ids.length};
}

// --- a copy of the file with all tensors as F32 -------------------------------------------------

function half(u) {
    const sign = u & 0x8000 ? -1 : 1, exponent = u >> 10 & 31, fraction = u & 1023;
    return exponent === 0 ? sign * fraction * 2 ** -24
        : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function bfloat(u) {
    return new Float32Array(new Uint32Array([u << 16]).buffer)[0];
}

// ggml type: [elements of a block, its bytes, function of block and element]. F16 and BF16 too:
// llama.cpp rounds activations to the type of the weights.
const BLOCKS = {
    0: [1, 4, (b) => b.readFloatLE(0)],
    1: [1, 2, (b) => half(b.readUInt16LE(0))],
    30: [1, 2, (b) => bfloat(b.readUInt16LE(0))],
    2: [32, 18, (b, i) => half(b.readUInt16LE(0)) * ((b[2 + i % 16] >> (i < 16 ? 0 : 4) & 15) - 8)],
    3: [32, 20, (b, i) => half(b.readUInt16LE(0)) * (b[4 + i % 16] >> (i < 16 ? 0 : 4) & 15) +
        half(b.readUInt16LE(2))],
    8: [32, 34, (b, i) => half(b.readUInt16LE(0)) * b.readInt8(2 + i)],
};
const VALUE_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];

function expand(from, to) {
    const f = readFileSync(from), align = (n) => Math.ceil(n / 32) * 32;
    let at = 24;
    const u32 = () => f.readUInt32LE((at += 4) - 4);
    const u64 = () => Number(f.readBigUInt64LE((at += 8) - 8));
    const skipText = () => {
        const length = u64();
        at += length;
    };
    const skip = (type) => {
        if (type === 8) skipText();
        else if (type === 9) for (let inner = u32(), n = u64(); n > 0; n--) skip(inner);
        else at += VALUE_BYTES[type];
    };
    for (let pairs = Number(f.readBigUInt64LE(16)); pairs > 0; pairs--) {
        skipText();
        skip(u32());
    }
    const head = [f.subarray(0, at)], infos = [];
    for (let n = Number(f.readBigUInt64LE(8)); n > 0; n--) {
        const begin = at;
        skipText();
        const ne = Array.from({length: u32()}, u64), end = at;
        infos.push({front: f.subarray(begin, end), elements: ne.reduce((a, b) => a * b, 1),
            type: u32(), offset: u64()});
    }
    const data = align(at), blobs = [];
    let offset = 0;
    for (const t of infos) {
        const tail = Buffer.alloc(12), [elements, bytes, value] = BLOCKS[t.type];
        const floats = new Float32Array(t.elements), blob = Buffer.from(floats.buffer);
        for (let i = 0; i < t.elements; i++) {
            const b = data + t.offset + Math.floor(i / elements) * bytes;
            floats[i] = value(f.subarray(b, b + bytes), i % elements);
        }
        tail.writeBigUInt64LE(BigInt(offset), 4); // type F32 is 0
        head.push(t.front, tail);
        blobs.push(blob, Buffer.alloc(align(blob.length) - blob.length));
        offset += align(blob.length);
    }
    const front = Buffer.concat(head);
    writeFileSync(to, Buffer.concat([front, Buffer.alloc(align(front.length) - front.length),
        ...blobs]));
}

// --- llama.cpp ----------------------------------------------------------------------------------

let failures = 0;

function check(good, text) {
    console.log(`${good ? "ok  " : "FAIL"} ${text}`);
    failures += good ? 0 : 1;
}

function logprob(logits, token) {
    let most = -Infinity, sum = 0;
    for (const v of logits.values()) most = Math.max(most, v);
    for (const v of logits.values()) sum += Math.exp(v - most);
    return logits.get(token) - most - Math.log(sum);
}

async function open(file) {
    const llama = await getLlama({gpu: false, logLevel: "error", maxThreads: 1});
    const model = await llama.loadModel({modelPath: file});
    const context = await model.createContext({contextSize: Math.min(256, model.trainContextSize),
        flashAttention: false, experimentalKvCacheKeyType: "F32",
        experimentalKvCacheValueType: "F32"});
    return {model, sequence: context.getSequence()};
}

function compareIds({model}, text, what) {
    const ids = tokenize(text), theirs = [
        ...model.tokens.shouldPrependBosToken ? [model.tokens.bos] : [],
        ...model.tokenize(text, true)];
    const other = ids.findIndex((id, i) => id !== theirs[i]);
    const same = other < 0 && ids.length === theirs.length;
    check(same, `${what}: the same ${ids.length} ids` +
        (same ? "" : `, but at ${other} (of ${theirs.length})`));
    return ids;
}

async function compareLogprobs({sequence}, ids, expected, limit, what) {
    await sequence.clearHistory();
    const results = await sequence.controlledEvaluate(
        ids.map((id) => [id, {generateNext: {logits: true}}]));
    let most = 0, sum = 0;
    for (let t = 0; t + 1 < ids.length; t++) {
        const difference = Math.abs(logprob(results[t].next.logits, ids[t + 1]) - expected[t]);
        most = Math.max(most, difference);
        sum += difference;
    }
    const count = ids.length - 1, mean = sum / count;
    check(mean <= limit, `${what}: log-probabilities of ${count} tokens differ by ` +
        `${most.toExponential(1)} at most, ${mean.toExponential(1)} on average`);
}

async function compareGreedy({sequence}, prompt, what) {
    await sequence.clearHistory();
    const made = [];
    for await (const token of sequence.evaluate(prompt, {temperature: 0, yieldEogToken: true}))
        if (made.push(token) === GREEDY) break;
    const {logits, width} = score([...prompt, ...made]);
    const first = made.findIndex((token, i) => {
        const row = logits.subarray((prompt.length + i - 1) * width,
            (prompt.length + i) * width);
        return row.indexOf(Math.max(...row)) !== token;
    });
    check(first < 0, `${what}: greedy text of ${made.length} tokens` +
        (first < 0 ? "" : ` differs at token ${first}`));
}

const packed = join(folder, "model.gguf"), expanded = join(scratch, "expanded.gguf");
try {
    expand(packed, expanded);
    const asIs = await open(packed), plain = await open(expanded);
    for (const name of textFiles) {
        const text = readFileSync(name, "utf8"), given = name.endsWith(".json");
        const ids = given ? JSON.parse(text) : compareIds(asIs, text.slice(0, TEXT_BYTES), name);
        const window = ids.slice(0, Math.min(SCORED, asIs.model.trainContextSize));
        const {logprobs} = score(window);
        await compareLogprobs(plain, window, logprobs, tight, `${name}, expanded`);
        await compareLogprobs(asIs, window, logprobs, LOOSE, `${name}, as it is`);
        if (!given) await compareGreedy(plain, ids.slice(0, PROMPT), `${name}, expanded`);
    }
} finally {
    rmSync(scratch, {recursive: true});
}
process.exit(failures ? 1 : 0);
