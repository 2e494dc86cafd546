/* SPDX-License-Identifier: Apache-2.0 */
/* Fragments of tokenizer.json, for tests that write their own tokenizers. */
#ifndef LLMQ_TESTS_TEXT_TOKENIZER_JSON_H
#define LLMQ_TESTS_TEXT_TOKENIZER_JSON_H

#define SPLIT(pattern, behavior, invert)                                                           \
    "{\"type\":\"Split\",\"pattern\":" pattern ",\"behavior\":\"" behavior "\",\"invert\":" invert \
    "}"
#define DASH                  "{\"String\":\"-\"}"
#define BYTES                 "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"
#define GPT2(prefix)          "{\"type\":\"ByteLevel\",\"add_prefix_space\":" prefix "}"
#define REGEX_SPLIT(p)        SPLIT("{\"Regex\":\"" p "\"}", "Isolated", "false")
#define PLAIN(type)           "{\"type\":\"" type "\"}"
#define SEQ(a, b)             "{\"type\":\"Sequence\",\"normalizers\":[" a "," b "]}"
#define PRESEQ(a, b)          "{\"type\":\"Sequence\",\"pretokenizers\":[" a "," b "]}"
#define REPLACE(p, c)         "{\"type\":\"Replace\",\"pattern\":" p ",\"content\":\"" c "\"}"
#define META(options)         "{\"type\":\"Metaspace\",\"replacement\":\"_\"" options "}"
#define STRIP(l, r)           "{\"type\":\"Strip\",\"strip_left\":" l ",\"strip_right\":" r "}"
#define ADDED(content, flags) "{\"id\":9,\"content\":\"" content "\"" flags "}"
#define LITERAL               ",\"normalized\":false"
#define LLAMA3                                                                                     \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}|"          \
    " ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"

#define MODEL(options, vocab, merges)                                                              \
    "{\"model\":{\"type\":\"BPE\"," options "\"vocab\":{" vocab "},\"merges\":[" merges "]}}"

#define WITH_POST(post)                                                                            \
    "{\"post_processor\":" post ",\"model\":{\"vocab\":{\"a\":0,\"[\":1,\"]\":2},\"merges\":[]}}"
#define PIECE(id) "{\"SpecialToken\":{\"id\":\"" id "\",\"type_id\":0}}"
#define PIECE_A   "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}"
#define TEMPLATE(single)                                                                           \
    "{\"type\":\"TemplateProcessing\",\"single\":[" single "],\"pair\":[],\"special_tokens\":{"    \
    "\"B\":{\"id\":\"B\",\"ids\":[1,1],\"tokens\":[\"x\",\"y\"]},"                                 \
    "\"E\":{\"id\":\"E\",\"ids\":[2],\"tokens\":[\"z\"]}}}"
#define CLS_SEP(type) "{\"type\":\"" type "\",\"sep\":[\"x\",2],\"cls\":[\"y\",1]}"

#endif
