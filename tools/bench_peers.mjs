#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// llmq's INT4 product beside those of ONNX Runtime (MatMulNBits) and llama.cpp (Q4_0), on the same
// matrices, timed in turns. Prints a Markdown table: GB/s of weights for one row of activations,
// GF/s for more, and for the others how many times llmq's time they take.
//
//     mkdir peers && cd peers
//     npm install --ignore-scripts koffi onnxruntime-node @node-llama-cpp/linux-x64
//     node .../tools/bench_peers.mjs .../build/libllmq.so
//
// The packages are looked for from the current folder. koffi, which calls C libraries, is needed;
// of the other two, one may be missing. --ignore-scripts, because ONNX Runtime's fetches GPU
// libraries. --ggml DIR takes another build of llama.cpp's libraries (libggml*.so) than npm's. Not
// part of the test suite, which needs no network.
//
// Modes: int8 rounds activations to 8 bits (ONNX Runtime's accuracy_level 4; Q4_0 always does),
// exact keeps float32 (accuracy_level 1). llama.cpp's matrices lie in the buffer it would choose,
// repacked for the CPU. Its groups are of 32 columns: four repeat the scale of one of 128.
//
// Every engine runs in a process of its own, and all but the one that is measured are stopped: the
// threads of some spin for a while after a product. A sample is SAMPLE_SECONDS of products, at
// least one; times are medians over samples taken in turns. With one row of activations, as many
// different matrices as fill WEIGHTS_BYTES are multiplied in turn (by the others: as nodes of one
// graph), so that weights come from memory; with more rows it is one matrix. GB/s counts, for
// all, 4 bits a weight and a float32 a group, GF/s 2 rows N K operations.
import {fork} from 'node:child_process';
import {once} from 'node:events';
import fs from 'node:fs';
import {createRequire} from 'node:module';
import {availableParallelism} from 'node:os';
import path from 'node:path';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';

const WEIGHTS_BYTES = 2 ** 28; // as in `llmq bench`: many times the last cache of one core
const SAMPLE_SECONDS = 0.03;
const CHECKED = 200; // outputs compared with double precision

const require = createRequire(path.join(process.cwd(), 'here'));

// --- the matrix and the activations -------------------------------------------------------------

// 32 bits a call: xorshift32 (Marsaglia, Journal of Statistical Software 8(14), 2003).
function randomSequence(seed) {
    let state = seed;
    return () => {
        state ^= state << 13;
        state ^= state >>> 17;
        state ^= state << 5;
        return state >>> 0;
    };
}

// W [n, k] = (codes - 8) * scales; the scales, [n, k / group], are exact in float16 too.
function makeMatrix({n, k, group}) {
    const random = randomSequence(1);
    return {
        codes: new Uint8Array(n * k).map(() => random() >>> 28),
        scales: new Float32Array(n * k / group).map((_, i) => (1 + i % 7) / 128),
    };
}

function makeActivations(rows, k) {
    const random = randomSequence(123456789);
    return new Float32Array(rows * k).map(() => random() / 2 ** 31 - 1);
}

// Root mean square of the error of y = x W^T over that of the result.
function relativeError({n, k, group}, {codes, scales}, rows, x, y) {
    let error = 0, norm = 0;
    for (let i = 0; i < CHECKED; i++) {
        const row = i * 7919 % n, m = i % rows;
        let sum = 0;
        for (let c = 0; c < k; c++) {
            const at = row * k + c;
            sum += (codes[at] - 8) * scales[Math.floor(at / group)] * x[m * k + c];
        }
        error += (y[m * n + row] - sum) ** 2;
        norm += sum ** 2;
    }
    return Math.sqrt(error / norm);
}

// --- llmq ---------------------------------------------------------------------------------------

// An engine is opened for a task, its matrix and a number of copies. `prepare` makes the products
// of activations x [rows, k] with the first `count` copies: run() computes them, result() is
// y [rows, n] of one that has these very codes and scales.

function openLlmq({library, mode, n, k, group}, {codes, scales}, copies) {
    const koffi = require('koffi'), lib = koffi.load(library);
    koffi.struct('llmq_qmat_desc', {n: 'int64_t', k: 'int64_t', bits: 'int', group: 'int64_t',
        codes: 'uint8_t *', scales: 'float *', zeros: 'uint8_t *', group_of: 'int32_t *'});
    const create = lib.func(
        'int llmq_qmat_create(const llmq_qmat_desc *desc, _Out_ void **out, void *err)');
    const multiply = lib.func('int llmq_qmat_matmul(const void *q, const void *x, int64_t m, ' +
        'int activations, void *y, void *err)');
    const zeros = new Uint8Array(scales.length).fill(8);
    const weights = Array.from({length: copies}, () => {
        const out = [null];
        if (create({n, k, bits: 4, group, codes, scales, zeros, group_of: null}, out, null))
            throw new Error('llmq_qmat_create failed');
        return out[0];
    });
    const activations = mode === 'int8' ? 1 : 0;
    const prepare = (rows, x, count) => {
        const y = new Float32Array(rows * n), used = weights.slice(0, count);
        const run = () => {
            for (const w of used)
                if (multiply(w, x, rows, activations, y, null))
                    throw new Error('llmq_qmat_matmul failed');
        };
        return {run, result: () => y};
    };
    return {about: `llmq, kernels ${lib.func('const char *llmq_cpu_name()')()}`, prepare};
}

// --- ONNX Runtime -------------------------------------------------------------------------------

// A model as Protocol Buffers: numbers are fields of onnx.proto.

function varint(value) {
    const bytes = [];
    for (; value > 127; value = Math.floor(value / 128))
        bytes.push(value % 128 + 128);
    return Buffer.from([...bytes, value]);
}

const number = (field, value) => Buffer.concat([varint(field << 3), varint(value)]);

function bytes(field, ...parts) {
    const data = Buffer.concat(parts.map(p => Buffer.from(p)));
    return Buffer.concat([varint(field << 3 | 2), varint(data.length), data]);
}

const FLOAT = 1, UINT8 = 2, INT_ATTRIBUTE = 2;

function valueInfo(field, name, columns) {
    const shape = bytes(2, bytes(1, bytes(2, 'rows')), bytes(1, number(1, columns)));
    return bytes(field, bytes(1, name), bytes(2, bytes(1, number(1, FLOAT), shape)));
}

const initializer = (name, type, dims, data) =>
    bytes(5, ...dims.map(d => number(1, d)), number(2, type), bytes(8, name), bytes(9, data));

function matMulNBits(i, attributes) {
    const fields = Object.entries(attributes).map(([name, value]) =>
        bytes(5, bytes(1, name), number(3, value), number(20, INT_ATTRIBUTE)));
    return bytes(1, bytes(1, 'x'), bytes(1, `w${i}`), bytes(1, `s${i}`), bytes(2, `y${i}`),
        bytes(4, 'MatMulNBits'), ...fields, bytes(7, 'com.microsoft'));
}

// y<i> [rows, n] = x [rows, k] times the i-th copy of the matrix. Equal tensors would be kept once,
// in the cache: each copy after the first has another first code and scale.
function onnxModel({mode, n, k, group}, {codes, scales}, copies) {
    const packed = new Uint8Array(n * k / 2).map((_, i) => codes[2 * i] | codes[2 * i + 1] << 4);
    const factors = scales.slice();
    const attributes = {K: k, N: n, bits: 4, block_size: group,
        accuracy_level: mode === 'int8' ? 4 : 1};
    const graph = [bytes(2, 'products'), valueInfo(11, 'x', k)];
    for (let i = 0; i < copies; i++) {
        graph.push(matMulNBits(i, attributes), valueInfo(12, `y${i}`, n),
            initializer(`w${i}`, UINT8, [n, k / group, group / 2], packed),
            initializer(`s${i}`, FLOAT, [factors.length], Buffer.from(factors.buffer)));
        packed[0]++;
        factors[0]++;
    }
    return Buffer.concat([number(1, 8), bytes(7, ...graph), // IR version, graph
        bytes(8, bytes(1, ''), number(2, 17)), // operator sets
        bytes(8, bytes(1, 'com.microsoft'), number(2, 1))]);
}

function openOnnxRuntime(task, matrix) {
    const {InferenceSession, Tensor, env} = require('onnxruntime-node');
    const prepare = async (rows, x, count) => {
        const session = await InferenceSession.create(onnxModel(task, matrix, count),
            {intraOpNumThreads: task.threads, interOpNumThreads: 1});
        const tensor = (data, columns) => new Tensor('float32', data, [rows, columns]);
        const y = session.outputNames.map(() => new Float32Array(rows * task.n));
        const inputs = {x: tensor(x, task.k)};
        const outputs = Object.fromEntries(y.map((data, i) => [`y${i}`, tensor(data, task.n)]));
        return {run: () => session.run(inputs, outputs), result: () => y[0]};
    };
    return {about: `ONNX Runtime ${env.versions.common}`, prepare};
}

// --- llama.cpp ----------------------------------------------------------------------------------

const GGML_TYPE_F32 = 0, GGML_TYPE_Q4_0 = 2, GGML_CPU = 0;
const Q4_0_COLUMNS = 32, Q4_0_BYTES = 18; // of a block
const THREADPOOL_PARAMS_BYTES = 1024; // enough for the struct in ggml.h

const GGML_FUNCTIONS = `
    const char *ggml_version()
    void ggml_log_set(ggml_log *callback, void *data)
    void *ggml_init(ggml_init_params params)
    void ggml_free(void *context)
    size_t ggml_tensor_overhead()
    size_t ggml_graph_overhead_custom(size_t size, bool grads)
    void *ggml_new_graph_custom(void *context, size_t size, bool grads)
    void *ggml_new_tensor_2d(void *context, int type, int64_t columns, int64_t rows)
    void *ggml_mul_mat(void *context, void *weights, void *x)
    void ggml_build_forward_expand(void *graph, void *tensor)
    void ggml_threadpool_params_init(void *params, int threads)
    void ggml_backend_load_all_from_path(const char *folder)
    void *ggml_backend_dev_by_type(int type)
    void *ggml_backend_dev_backend_reg(void *device)
    void *ggml_backend_reg_get_proc_address(void *reg, const char *name)
    void *ggml_backend_dev_init(void *device, const char *params)
    void *ggml_backend_dev_buffer_type(void *device)
    bool ggml_backend_dev_supports_op(void *device, void *op)
    const char *ggml_backend_buft_name(void *type)
    void *ggml_backend_alloc_ctx_tensors_from_buft(void *context, void *type)
    void ggml_backend_buffer_free(void *buffer)
    void ggml_backend_tensor_set(void *tensor, const void *data, size_t offset, size_t size)
    void ggml_backend_tensor_get(const void *tensor, void *data, size_t offset, size_t size)
    int ggml_backend_graph_compute(void *backend, void *graph)`;

// Functions of the CPU backend, which llama.cpp asks for by name.
const GGML_PROCEDURES = `
    void **ggml_backend_dev_get_extra_bufts(void *device)
    void ggml_backend_set_n_threads(void *backend, int threads)
    void *ggml_threadpool_new(void *params)
    void ggml_backend_cpu_set_threadpool(void *backend, void *pool)`;

// All functions by name, and the device.
function loadGgml(folder) {
    const koffi = require('koffi');
    const file = fs.readdirSync(folder).find(name => /^libggml(\.v[\d.]+)?\.so$/.test(name));
    const lib = koffi.load(path.join(folder, file));
    koffi.struct('ggml_init_params', {mem_size: 'size_t', mem_buffer: 'void *', no_alloc: 'bool'});
    koffi.proto('void ggml_log(int level, const char *text, void *data)');
    const byName = (prototypes, get) => Object.fromEntries(prototypes.trim().split('\n')
        .map(prototype => [prototype.match(/\w+(?=\()/)[0], prototype.trim()])
        .map(([name, prototype]) => [name, get(name, prototype)]));
    const c = byName(GGML_FUNCTIONS, (_, prototype) => lib.func(prototype));
    c.ggml_log_set(koffi.register(() => {}, 'ggml_log *'), null);
    c.ggml_backend_load_all_from_path(folder);
    const device = c.ggml_backend_dev_by_type(GGML_CPU);
    const registry = c.ggml_backend_dev_backend_reg(device);
    const procedures = byName(GGML_PROCEDURES, (name, prototype) => koffi.decode(
        c.ggml_backend_reg_get_proc_address(registry, name), koffi.proto(prototype)));
    return {...c, ...procedures, device};
}

// A context for so many tensors, whose data are not in it, and one graph.
function ggmlContext(c, tensors) {
    const bytes = tensors * c.ggml_tensor_overhead() + c.ggml_graph_overhead_custom(tensors, false);
    return c.ggml_init({mem_size: bytes, mem_buffer: null, no_alloc: true});
}

// A backend with threads that stay, as llama.cpp keeps them.
function ggmlBackend(c, threads) {
    const backend = c.ggml_backend_dev_init(c.device, null);
    const params = Buffer.alloc(THREADPOOL_PARAMS_BYTES);
    c.ggml_threadpool_params_init(params, threads);
    c.ggml_backend_set_n_threads(backend, threads);
    c.ggml_backend_cpu_set_threadpool(backend, c.ggml_threadpool_new(params));
    return backend;
}

// Bits of a float16 that is exact and not subnormal.
function half(value) {
    const exponent = Math.floor(Math.log2(value));
    return exponent + 15 << 10 | (value / 2 ** exponent - 1) * 1024;
}

// Blocks of a scale and 32 codes: column i in the low, 16 + i in the high half of byte i.
function packQ4_0({n, k, group}, {codes, scales}) {
    const blocks = Buffer.alloc(n * k / Q4_0_COLUMNS * Q4_0_BYTES);
    for (let from = 0, to = 0; from < n * k; from += Q4_0_COLUMNS, to += Q4_0_BYTES) {
        blocks.writeUInt16LE(half(scales[Math.floor(from / group)]), to);
        for (let i = 0; i < 16; i++)
            blocks[to + 2 + i] = codes[from + i] | codes[from + i + 16] << 4;
    }
    return blocks;
}

// Pointers before the null pointer.
function pointers(array) {
    const koffi = require('koffi'), out = [];
    for (let p; (p = koffi.decode(array, 8 * out.length, 'void *')) !== null;)
        out.push(p);
    return out;
}

// Copies of the matrix in the first buffer type of the CPU's that supports products with it.
function ggmlWeights(c, {n, k}, copies) {
    const extra = pointers(c.ggml_backend_dev_get_extra_bufts(c.device));
    for (const type of [...extra, c.ggml_backend_dev_buffer_type(c.device)]) {
        const context = ggmlContext(c, copies + 2);
        const tensors = Array.from({length: copies},
            () => c.ggml_new_tensor_2d(context, GGML_TYPE_Q4_0, k, n));
        const buffer = c.ggml_backend_alloc_ctx_tensors_from_buft(context, type);
        const x = c.ggml_new_tensor_2d(context, GGML_TYPE_F32, k, 1);
        if (c.ggml_backend_dev_supports_op(c.device, c.ggml_mul_mat(context, tensors[0], x)))
            return {tensors, type: c.ggml_backend_buft_name(type)};
        c.ggml_backend_buffer_free(buffer);
        c.ggml_free(context);
    }
    throw new Error('llama.cpp has no buffer for Q4_0');
}

function openLlamaCpp(task, matrix, copies) {
    const c = loadGgml(task.folder), backend = ggmlBackend(c, task.threads);
    const {tensors, type} = ggmlWeights(c, task, copies), blocks = packQ4_0(task, matrix);
    for (const tensor of tensors)
        c.ggml_backend_tensor_set(tensor, blocks, 0, blocks.length);
    const prepare = (rows, x, count) => {
        const context = ggmlContext(c, count + 1);
        const input = c.ggml_new_tensor_2d(context, GGML_TYPE_F32, task.k, rows);
        const graph = c.ggml_new_graph_custom(context, count + 1, false);
        const products = tensors.slice(0, count).map(w => c.ggml_mul_mat(context, w, input));
        for (const product of products)
            c.ggml_build_forward_expand(graph, product);
        c.ggml_backend_alloc_ctx_tensors_from_buft(context,
            c.ggml_backend_dev_buffer_type(c.device));
        c.ggml_backend_tensor_set(input, x, 0, x.byteLength);
        const run = () => {
            if (c.ggml_backend_graph_compute(backend, graph))
                throw new Error('ggml_backend_graph_compute failed');
        };
        const result = () => {
            const y = new Float32Array(rows * task.n);
            c.ggml_backend_tensor_get(products[0], y, 0, y.byteLength);
            return y;
        };
        return {run, result};
    };
    return {about: `llama.cpp, ggml ${c.ggml_version()}, ${type}`, prepare};
}

// --- one engine in its process ------------------------------------------------------------------

const ENGINES = {llmq: openLlmq, onnxruntime: openOnnxRuntime, llamacpp: openLlamaCpp};

const packedBytes = ({n, k, group}) => n * k / 2 + 4 * n * k / group;

// Seconds of one product, from as many passes as make a sample.
async function sample({run}, count) {
    const start = performance.now();
    for (let products = count;; products += count) {
        await run();
        const seconds = (performance.now() - start) / 1e3;
        if (seconds >= SAMPLE_SECONDS)
            return seconds / products;
    }
}

// Answers every {rows} with a sample; the first of its rows is prepared, warm and checked.
async function serve(task) {
    const matrix = makeMatrix(task), copies = Math.ceil(WEIGHTS_BYTES / packedBytes(task));
    const engine = await ENGINES[task.engine](task, matrix, copies);
    let current = {};
    process.on('message', async ({rows}) => {
        const count = rows === 1 ? copies : 1;
        if (current.rows !== rows) {
            const x = makeActivations(rows, task.k);
            current = {rows, ...await engine.prepare(rows, x, count)};
            await current.run();
            current.relerr = relativeError(task, matrix, rows, x, current.result());
        }
        const seconds = await sample(current, count);
        process.send({about: engine.about, relerr: current.relerr, seconds});
    });
}

const workers = new Set();

// A process that is stopped except while it answers.
class Worker {
    constructor(task) {
        this.process = fork(fileURLToPath(import.meta.url), [JSON.stringify(task)],
            {env: {...process.env, OMP_NUM_THREADS: task.threads}});
        this.process.kill('SIGSTOP');
        this.ended = once(this.process, 'exit').then(() => {
            throw new Error(`${task.engine} failed`);
        });
        this.ended.catch(() => {}); // unless it is being asked
        workers.add(this);
    }

    async ask(rows) {
        const answered = once(this.process, 'message');
        this.process.send({rows});
        this.process.kill('SIGCONT');
        const [answer] = await Promise.race([answered, this.ended]);
        this.process.kill('SIGSTOP');
        return answer;
    }

    end() {
        this.process.kill('SIGKILL');
        workers.delete(this);
    }
}

process.on('exit', () => workers.forEach(worker => worker.end()));
process.on('SIGINT', () => process.exit(130));

// --- the comparison -----------------------------------------------------------------------------

// `against`: the column whose time this one's is divided by.
const COLUMNS = [
    {name: 'llmq int8', engine: 'llmq', mode: 'int8'},
    {name: 'ONNX Runtime int8', engine: 'onnxruntime', mode: 'int8', against: 'llmq int8'},
    {name: 'llama.cpp Q4_0', engine: 'llamacpp', mode: 'int8', against: 'llmq int8'},
    {name: 'llmq exact', engine: 'llmq', mode: 'exact'},
    {name: 'ONNX Runtime exact', engine: 'onnxruntime', mode: 'exact', against: 'llmq exact'},
];

function readOptions() {
    const {values, positionals} = parseArgs({allowPositionals: true, options: {
        shapes: {type: 'string', default: '4096x4096,11008x4096,4096x11008'}, // outputs x inputs
        rows: {type: 'string', default: '1,16,128,512'},
        threads: {type: 'string', default: [...new Set([1, availableParallelism()])].join()},
        samples: {type: 'string', default: '9'},
        group: {type: 'string', default: '128'},
        ggml: {type: 'string', default: path.join(process.cwd(), 'node_modules/@node-llama-cpp',
            `linux-${process.arch}`, 'bins', `linux-${process.arch}`)},
        json: {type: 'boolean', default: false},
    }});
    if (positionals.length !== 1)
        throw new Error('usage: bench_peers.mjs LIBLLMQ [--shapes 4096x4096,...] [--rows 1,...] ' +
            '[--threads 1,...] [--samples N] [--group N] [--ggml DIR] [--json]');
    const numbers = text => text.split(',').map(Number);
    return {
        shapes: values.shapes.split(',').map(shape => shape.split('x').map(Number)),
        rows: numbers(values.rows),
        threads: numbers(values.threads),
        samples: Number(values.samples),
        group: Number(values.group),
        json: values.json,
        library: path.resolve(positionals[0]),
        folder: path.resolve(values.ggml),
    };
}

// Columns whose engines are installed.
function presentColumns({folder}) {
    const installed = name => {
        try {
            return Boolean(require.resolve(name));
        } catch {
            return false;
        }
    };
    if (!installed('koffi'))
        throw new Error('npm package koffi not found from the current folder');
    const present = {llmq: true, onnxruntime: installed('onnxruntime-node'),
        llamacpp: fs.existsSync(folder)};
    for (const engine of Object.keys(present).filter(name => !present[name]))
        console.error(`bench_peers: ${engine} is not installed, and left out`);
    return COLUMNS.filter(column => present[column.engine]);
}

function median(values) {
    const sorted = values.toSorted((a, b) => a - b), last = sorted.length - 1;
    return (sorted[last >> 1] + sorted[last + 1 >> 1]) / 2;
}

// The last answer of every engine, with the median of its times.
async function measure(engines, rows, samples) {
    const times = engines.map(() => []), results = [];
    for (let i = 0; i < samples; i++)
        for (const [e, engine] of engines.entries()) {
            results[e] = await engine.ask(rows);
            times[e].push(results[e].seconds);
        }
    return results.map((result, e) => ({...result, seconds: median(times[e])}));
}

// Results with rates, and the ratio of the time to that of the column it is held against.
function complete(columns, results, {n, k, group, threads}, rows) {
    return columns.map(({name, against}, i) => {
        const {seconds} = results[i], base = columns.findIndex(c => c.name === against);
        return {name, n, k, group, threads, rows, ...results[i],
            gbps: packedBytes({n, k, group}) / seconds * 1e-9,
            gflops: 2 * rows * n * k / seconds * 1e-9,
            ...against && {ratio: seconds / results[base].seconds}};
    });
}

const printRow = cells => console.log(`| ${cells.join(' | ')} |`);

function printHead(columns) {
    const cells = ['N x K', 'threads', 'rows', ...columns.map(column => column.name)];
    printRow(cells);
    printRow(cells.map(() => '---'));
}

function printResults(results) {
    const {n, k, threads, rows} = results[0];
    printRow([`${n} x ${k}`, threads, rows, ...results.map(({gbps, gflops, ratio}) =>
        (rows === 1 ? `${gbps.toFixed(1)} GB/s` : `${gflops.toFixed(0)} GF/s`) +
        (ratio ? ` (${ratio.toFixed(2)}x)` : ''))]);
}

async function measureShape(columns, task, options) {
    const engines = columns.map(({engine, mode}) => new Worker({...task, engine, mode})), all = [];
    for (const rows of options.rows) {
        const results = await measure(engines, rows, options.samples);
        all.push(complete(columns, results, task, rows));
        if (!options.json)
            printResults(all.at(-1));
    }
    engines.forEach(engine => engine.end());
    return all.flat();
}

function printEngines(columns, all) {
    for (const {name} of columns) {
        const own = all.filter(result => result.name === name);
        const error = Math.max(...own.map(result => result.relerr));
        console.log(`${name}: ${own[0].about}, relative error ${error.toExponential(1)}`);
    }
}

async function compare() {
    const options = readOptions(), columns = presentColumns(options), all = [];
    const {library, folder, group, json} = options;
    if (!json)
        printHead(columns);
    for (const [n, k] of options.shapes)
        for (const threads of options.threads)
            all.push(...await measureShape(columns, {library, folder, group, n, k, threads},
                options));
    if (json)
        console.log(JSON.stringify(all, null, 1));
    else
        printEngines(columns, all);
}

if (process.send)
    serve(JSON.parse(process.argv[2]));
else
    compare().catch(error => {
        console.error(`bench_peers: ${error.message}`);
        process.exit(2);
    });
