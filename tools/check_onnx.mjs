#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// Run every model of a folder written with --format onnx in ONNX Runtime, on random inputs, and
// compare with the product computed here in double precision from the bytes the model points at.
//
//     mkdir ort && cd ort && npm install --ignore-scripts onnxruntime-node
//     node .../tools/check_onnx.mjs FOLDER
//
// onnxruntime-node is looked for from the current folder; --ignore-scripts, because its script
// fetches GPU libraries, which are not needed. Not part of the test suite, which needs no network.
// Reads the .onnx files and unpacks the weights by the operator's documentation, independently of
// llmq and of the runtime. Printed is the largest |Y - ref| / sum_k |A_k W_k|, and the exit code is
// 1 if one exceeds K 2^-24, the bound for sums in float32.
import fs from 'node:fs';
import {createRequire} from 'node:module';
import path from 'node:path';

const ROWS = [1, 5]; // of the input: the kernels for vectors and for matrices differ

// --- Protocol Buffers -----------------------------------------------------------------------

// Fields of a message as [number, value]: a Number for varints, a Buffer for bytes.
function fields(buffer) {
    const out = [];
    let at = 0;
    const varint = () => {
        let value = 0n, shift = 0n, byte;
        do {
            byte = buffer[at++];
            value |= BigInt(byte & 127) << shift;
            shift += 7n;
        } while (byte & 128);
        return Number(value);
    };
    while (at < buffer.length) {
        const key = varint();
        if ((key & 7) === 0)
            out.push([key >>> 3, varint()]);
        else if ((key & 7) === 2) {
            const length = varint();
            out.push([key >>> 3, buffer.subarray(at, at += length)]);
        } else
            throw new Error(`wire type ${key & 7}`);
    }
    if (at !== buffer.length)
        throw new Error('a message ends early');
    return out;
}

const all = (message, number) => message.filter(f => f[0] === number).map(f => f[1]);
const text = (message, number) => String(all(message, number)[0] ?? '');

// --- a model --------------------------------------------------------------------------------

// dims, and the bytes in the file the tensor names.
function initializer(folder, buffer) {
    const tensor = fields(buffer);
    const entries = all(tensor, 13).map(fields).map(e => [text(e, 1), text(e, 2)]);
    const {location, offset, length} = Object.fromEntries(entries);
    const bytes = Buffer.alloc(Number(length));
    const file = fs.openSync(path.join(folder, location));
    const found = fs.readSync(file, bytes, 0, bytes.length, Number(offset));
    fs.closeSync(file);
    if (found !== bytes.length)
        throw new Error(`${location} ends before offset ${offset} + ${length}`);
    return {dims: all(tensor, 1), bytes};
}

function readModel(file) {
    const graph = fields(all(fields(fs.readFileSync(file)), 7)[0]);
    const node = fields(all(graph, 1)[0]);
    const tensors = new Map(all(graph, 5).map(t => [text(fields(t), 8), t]));
    const inputs = all(node, 1).slice(1).map(name => tensors.get(String(name)));
    const attributes = all(node, 5).map(fields).map(a => [text(a, 1), all(a, 3)[0]]);
    const folder = path.dirname(file);
    return {
        ...Object.fromEntries(attributes),
        inputs: inputs.map(t => initializer(folder, t)),
    };
}

// `bits` bits at bit `at`, low bits first.
const field = (bytes, at, bits) => bytes[at >>> 3] >>> (at & 7) & (1 << bits) - 1;

// W [N, K] in double precision.
function dequantize({K, N, bits, block_size, inputs: [B, scales, zeros]}) {
    const [, blocks, blob] = B.dims;
    const W = new Float64Array(N * K);
    for (let n = 0; n < N; n++)
        for (let k = 0; k < K; k++) {
            const block = Math.floor(k / block_size), row = n * blocks + block;
            const code = field(B.bytes.subarray(row * blob), k % block_size * bits, bits);
            const zero =
                zeros ? field(zeros.bytes.subarray(n * zeros.dims[1]), block * bits, bits)
                      : 1 << bits - 1;
            W[n * K + k] = (code - zero) * scales.bytes.readFloatLE(4 * row);
        }
    return W;
}

// --- the comparison -------------------------------------------------------------------------

let state = 1;
function random() { // -0.5 ... 0.5
    state = Math.imul(state, 1664525) + 1013904223 >>> 0;
    return state / 2 ** 32 - 0.5;
}

function worstError(rows, {K, N}, A, W, Y) {
    let worst = 0;
    for (let m = 0; m < rows; m++)
        for (let n = 0; n < N; n++) {
            let sum = 0, magnitude = 0;
            for (let k = 0; k < K; k++) {
                const product = A[m * K + k] * W[n * K + k];
                sum += product;
                magnitude += Math.abs(product);
            }
            const error = Math.abs(Y[m * N + n] - sum);
            worst = Math.max(worst, magnitude > 0 ? error / magnitude : error);
        }
    return worst;
}

async function check(ort, file) {
    const model = readModel(file), W = dequantize(model);
    const session = await ort.InferenceSession.create(file, {intraOpNumThreads: 1});
    let worst = 0;
    for (const rows of ROWS) {
        const A = new Float32Array(rows * model.K).map(random);
        const {Y} = await session.run({A: new ort.Tensor('float32', A, [rows, model.K])});
        worst = Math.max(worst, worstError(rows, model, A, W, Y.data));
    }
    await session.release();
    return {worst, limit: model.K * 2 ** -24};
}

const folder = process.argv[2];
if (!folder) {
    console.error('usage: check_onnx.mjs FOLDER');
    process.exit(2);
}
const ort = createRequire(path.join(process.cwd(), 'here'))('onnxruntime-node');
const models = fs.readdirSync(folder).filter(name => name.endsWith('.onnx')).sort();
let worst = 0, failed = models.length === 0;
for (const name of models) {
    const result = await check(ort, path.join(folder, name));
    worst = Math.max(worst, result.worst);
    if (!(result.worst <= result.limit)) {
        failed = true;
        console.log(`${name}: error ${result.worst.toExponential(2)}, expected at most ${
            result.limit.toExponential(2)}`);
    }
}
console.log(`${models.length} models, largest relative error ${worst.toExponential(2)}`);
process.exit(failed ? 1 : 0);
