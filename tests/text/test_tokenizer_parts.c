/* SPDX-License-Identifier: Apache-2.0 */
/* Tokenizers' parts on awkward texts, as the reference library (tokenizers 0.23.2) computes them:
 * the split patterns of widespread models, the Unicode versions behind each part, U+0000, and
 * matches of nothing. The model has a token for every byte and no merges, so that ids spell what
 * came out; a bar stands before each piece. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "support.h"
#include "text/tokenizer.h"

#define TEXT(literal) literal, sizeof(literal) - 1

static llmq_error err;

/* clang-format off */
#define DEEPSEEK \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\"" \
    ":\"[!\\\"#$%&'()*+,\\\\-./:;<=>?@\\\\[\\\\\\\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\\\p{L" \
    "}\\\\p{P}\\\\p{S}]?[\\\\p{L}\\\\p{M}]+| ?[\\\\p{P}\\\\p{S}]+[\\r\\n]*|\\\\s*[\\r\\n]" \
    "+|\\\\s+(?!\\\\S)|\\\\s+\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"" \
    "Metaspace\",\"replacement\":\"|\",\"prepend_scheme\":\"always\",\"split\":false}]}"

#define GPT4O \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\"" \
    ":\"[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*[\\" \
    "\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\\\r\\\\n\\\\p{L" \
    "}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+[\\\\p{Ll}\\\\p{Lm}\\\\p{L" \
    "o}\\\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[" \
    "\\\\r\\\\n/]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},\"behavior\":\"Isolated" \
    "\",\"invert\":false},{\"type\":\"Metaspace\",\"replacement\":\"|\",\"prepend_scheme" \
    "\":\"always\",\"split\":false}]}"

#define QWEN \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\"" \
    ":\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| ?[" \
    "^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}," \
    "\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"Metaspace\",\"replacement\":" \
    "\"|\",\"prepend_scheme\":\"always\",\"split\":false}]}"

#define BLOOM \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\"" \
    ":\" ?[^(\\\\s|[.,!?\xe2\x80\xa6\xe3\x80\x82\xef\xbc\x8c\xe3\x80\x81\xe0\xa5\xa4\xdb" \
    "\x94\xd8\x8c])]+\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"Metaspac" \
    "e\",\"replacement\":\"|\",\"prepend_scheme\":\"always\",\"split\":false}]}"

#define CJK \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\"" \
    ":\"[\xe4\xb8\x80-\xe9\xbe\xa5\xe0\xa0\x80-\xe4\xb8\x80\xea\xb0\x80-\xed\x9f\xbf]+\"}" \
    ",\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"Metaspace\",\"replacement\"" \
    ":\"|\",\"prepend_scheme\":\"always\",\"split\":false}]}"

static const struct {
    const char *normalizer, *pre_tokenizer; /* JSON, NULL for null */
    const char *text;
    size_t len;
    const char *expected;
    size_t expected_len;
} cases[] = {
    {NULL, DEEPSEEK,
     TEXT("I love you \xf0\x9f\xa9\xb7\xf0\x9f\xab\xa9 hi"), TEXT("|I|love|you|\xf0\x9f\xa9\xb7\xf0\x9f\xab\xa9|hi")},
    {NULL, DEEPSEEK,
     TEXT("Don'T we'LL i'\xc5\xbf 12345 \xc2\xbd\xd9\xa3x\xc2\xb2"), TEXT("|Don|'T|we|'LL|i|'|\xc5\xbf||12345||\xc2\xbd|\xd9\xa3x|\xc2\xb2")},
    {NULL, DEEPSEEK,
     TEXT("  a\x0d\x0a\x0d\x0a  b \x09\x0a"), TEXT("||a|\x0d\x0a\x0d\x0a||b|\x09\x0a")},
    {NULL, DEEPSEEK,
     TEXT("e\xcc\x81\xcc\x81o \xc3\xb1.\xed\x95\x9c\xea\xb5\xad \xe0\xa4\xa8\xe0\xa4\xae\xe0\xa4\xb8\xe0\xa5\x8d\xe0\xa4\xa4\xe0\xa5\x87"), TEXT("|e\xcc\x81\xcc\x81o|\xc3\xb1|.|\xed\x95\x9c\xea\xb5\xad|\xe0\xa4\xa8\xe0\xa4\xae\xe0\xa4\xb8\xe0\xa5\x8d\xe0\xa4\xa4\xe0\xa5\x87")},
    {NULL, DEEPSEEK,
     TEXT("\x00" "a\x00 \xe2\x80\x8b\xc2\xad\xe2\x80\xbf_x"), TEXT("|\x00" "a|\x00||\xe2\x80\x8b\xc2\xad|\xe2\x80\xbf_|x")},
    {NULL, DEEPSEEK,
     TEXT("\xe4\xbd\xa0\xe5\xa5\xbd\xef\xbc\x8c\xe4\xb8\x96\xe7\x95\x8c\xe3\x80\x82\xe3\x80\x8c\xe3\x83\xbc\xe3\x80\x8d!?"), TEXT("|\xe4\xbd\xa0\xe5\xa5\xbd|\xef\xbc\x8c|\xe4\xb8\x96\xe7\x95\x8c|\xe3\x80\x82\xe3\x80\x8c|\xe3\x83\xbc|\xe3\x80\x8d!?")},
    {NULL, DEEPSEEK,
     TEXT("\xc3\x80" "B \xc7\x85x \xca\xb0" "a \xc2\xaa\xc2\xba\xe1\xb2\x89\xea\x9f\x8b"), TEXT("|\xc3\x80" "B|\xc7\x85x|\xca\xb0" "a|\xc2\xaa\xc2\xba\xe1\xb2\x89\xea\x9f\x8b")},
    {NULL, DEEPSEEK,
     TEXT("\xee\x80\x80\xef\xbf\xbf\xf4\x8f\xbf\xbf\xf0\x9f\xaa\x8f\xe3\x80\x80\xe3\x80\x80x"), TEXT("|\xee\x80\x80\xef\xbf\xbf\xf4\x8f\xbf\xbf|\xf0\x9f\xaa\x8f|\xe3\x80\x80|\xe3\x80\x80x")},
    {NULL, DEEPSEEK,
     TEXT("100.000/5-3==x)\x0a/ //"), TEXT("|100|.|000|/|5|-|3|==|x|)\x0a|/|//")},
    {NULL, GPT4O,
     TEXT("I love you \xf0\x9f\xa9\xb7\xf0\x9f\xab\xa9 hi"), TEXT("|I|love|you|\xf0\x9f\xa9\xb7\xf0\x9f\xab\xa9|hi")},
    {NULL, GPT4O,
     TEXT("Don'T we'LL i'\xc5\xbf 12345 \xc2\xbd\xd9\xa3x\xc2\xb2"), TEXT("|Don'T|we'LL|i'\xc5\xbf||123|45||\xc2\xbd\xd9\xa3|x|\xc2\xb2")},
    {NULL, GPT4O,
     TEXT("  a\x0d\x0a\x0d\x0a  b \x09\x0a"), TEXT("||a|\x0d\x0a\x0d\x0a||b|\x09\x0a")},
    {NULL, GPT4O,
     TEXT("e\xcc\x81\xcc\x81o \xc3\xb1.\xed\x95\x9c\xea\xb5\xad \xe0\xa4\xa8\xe0\xa4\xae\xe0\xa4\xb8\xe0\xa5\x8d\xe0\xa4\xa4\xe0\xa5\x87"), TEXT("|e\xcc\x81\xcc\x81o|\xc3\xb1|.\xed\x95\x9c\xea\xb5\xad|\xe0\xa4\xa8\xe0\xa4\xae\xe0\xa4\xb8\xe0\xa5\x8d\xe0\xa4\xa4\xe0\xa5\x87")},
    {NULL, GPT4O,
     TEXT("\x00" "a\x00 \xe2\x80\x8b\xc2\xad\xe2\x80\xbf_x"), TEXT("|\x00" "a|\x00|\xe2\x80\x8b\xc2\xad\xe2\x80\xbf_|x")},
    {NULL, GPT4O,
     TEXT("\xe4\xbd\xa0\xe5\xa5\xbd\xef\xbc\x8c\xe4\xb8\x96\xe7\x95\x8c\xe3\x80\x82\xe3\x80\x8c\xe3\x83\xbc\xe3\x80\x8d!?"), TEXT("|\xe4\xbd\xa0\xe5\xa5\xbd|\xef\xbc\x8c\xe4\xb8\x96\xe7\x95\x8c|\xe3\x80\x82\xe3\x80\x8c|\xe3\x83\xbc|\xe3\x80\x8d!?")},
    {NULL, GPT4O,
     TEXT("\xc3\x80" "B \xc7\x85x \xca\xb0" "a \xc2\xaa\xc2\xba\xe1\xb2\x89\xea\x9f\x8b"), TEXT("|\xc3\x80" "B|\xc7\x85x|\xca\xb0" "a|\xc2\xaa\xc2\xba|\xe1\xb2\x89\xea\x9f\x8b")},
    {NULL, GPT4O,
     TEXT("\xee\x80\x80\xef\xbf\xbf\xf4\x8f\xbf\xbf\xf0\x9f\xaa\x8f\xe3\x80\x80\xe3\x80\x80x"), TEXT("|\xee\x80\x80\xef\xbf\xbf\xf4\x8f\xbf\xbf\xf0\x9f\xaa\x8f|\xe3\x80\x80|\xe3\x80\x80x")},
    {NULL, GPT4O,
     TEXT("100.000/5-3==x)\x0a/ //"), TEXT("|100|.|000|/|5|-|3|==|x|)\x0a/|//")},
    {NULL, QWEN,
     TEXT("I love you \xf0\x9f\xa9\xb7\xf0\x9f\xab\xa9 hi"), TEXT("|I|love|you|\xf0\x9f\xa9\xb7\xf0\x9f\xab\xa9|hi")},
    {NULL, QWEN,
     TEXT("Don'T we'LL i'\xc5\xbf 12345 \xc2\xbd\xd9\xa3x\xc2\xb2"), TEXT("|Don|'T|we|'LL|i|'\xc5\xbf||1|2|3|4|5||\xc2\xbd|\xd9\xa3|x|\xc2\xb2")},
    {NULL, QWEN,
     TEXT("  a\x0d\x0a\x0d\x0a  b \x09\x0a"), TEXT("||a|\x0d\x0a\x0d\x0a||b|\x09\x0a")},
    {NULL, QWEN,
     TEXT("e\xcc\x81\xcc\x81o \xc3\xb1.\xed\x95\x9c\xea\xb5\xad \xe0\xa4\xa8\xe0\xa4\xae\xe0\xa4\xb8\xe0\xa5\x8d\xe0\xa4\xa4\xe0\xa5\x87"), TEXT("|e|\xcc\x81\xcc\x81|o|\xc3\xb1|.\xed\x95\x9c\xea\xb5\xad|\xe0\xa4\xa8\xe0\xa4\xae\xe0\xa4\xb8|\xe0\xa5\x8d\xe0\xa4\xa4|\xe0\xa5\x87")},
    {NULL, QWEN,
     TEXT("\x00" "a\x00 \xe2\x80\x8b\xc2\xad\xe2\x80\xbf_x"), TEXT("|\x00" "a|\x00|\xe2\x80\x8b\xc2\xad\xe2\x80\xbf_|x")},
    {NULL, QWEN,
     TEXT("\xe4\xbd\xa0\xe5\xa5\xbd\xef\xbc\x8c\xe4\xb8\x96\xe7\x95\x8c\xe3\x80\x82\xe3\x80\x8c\xe3\x83\xbc\xe3\x80\x8d!?"), TEXT("|\xe4\xbd\xa0\xe5\xa5\xbd|\xef\xbc\x8c\xe4\xb8\x96\xe7\x95\x8c|\xe3\x80\x82\xe3\x80\x8c|\xe3\x83\xbc|\xe3\x80\x8d!?")},
    {NULL, QWEN,
     TEXT("\xc3\x80" "B \xc7\x85x \xca\xb0" "a \xc2\xaa\xc2\xba\xe1\xb2\x89\xea\x9f\x8b"), TEXT("|\xc3\x80" "B|\xc7\x85x|\xca\xb0" "a|\xc2\xaa\xc2\xba\xe1\xb2\x89\xea\x9f\x8b")},
    {NULL, QWEN,
     TEXT("\xee\x80\x80\xef\xbf\xbf\xf4\x8f\xbf\xbf\xf0\x9f\xaa\x8f\xe3\x80\x80\xe3\x80\x80x"), TEXT("|\xee\x80\x80\xef\xbf\xbf\xf4\x8f\xbf\xbf\xf0\x9f\xaa\x8f|\xe3\x80\x80|\xe3\x80\x80x")},
    {NULL, QWEN,
     TEXT("100.000/5-3==x)\x0a/ //"), TEXT("|1|0|0|.|0|0|0|/|5|-|3|==|x|)\x0a|/|//")},
    {NULL, BLOOM,
     TEXT("I love you \xf0\x9f\xa9\xb7\xf0\x9f\xab\xa9 hi"), TEXT("|I|love|you|\xf0\x9f\xa9\xb7\xf0\x9f\xab\xa9|hi")},
    {NULL, BLOOM,
     TEXT("Don'T we'LL i'\xc5\xbf 12345 \xc2\xbd\xd9\xa3x\xc2\xb2"), TEXT("|Don'T|we'LL|i'\xc5\xbf|12345|\xc2\xbd\xd9\xa3x\xc2\xb2")},
    {NULL, BLOOM,
     TEXT("  a\x0d\x0a\x0d\x0a  b \x09\x0a"), TEXT("||a|\x0d\x0a\x0d\x0a||b|\x09\x0a")},
    {NULL, BLOOM,
     TEXT("e\xcc\x81\xcc\x81o \xc3\xb1.\xed\x95\x9c\xea\xb5\xad \xe0\xa4\xa8\xe0\xa4\xae\xe0\xa4\xb8\xe0\xa5\x8d\xe0\xa4\xa4\xe0\xa5\x87"), TEXT("|e\xcc\x81\xcc\x81o|\xc3\xb1|.|\xed\x95\x9c\xea\xb5\xad|\xe0\xa4\xa8\xe0\xa4\xae\xe0\xa4\xb8\xe0\xa5\x8d\xe0\xa4\xa4\xe0\xa5\x87")},
    {NULL, BLOOM,
     TEXT("\x00" "a\x00 \xe2\x80\x8b\xc2\xad\xe2\x80\xbf_x"), TEXT("|\x00" "a\x00|\xe2\x80\x8b\xc2\xad\xe2\x80\xbf_x")},
    {NULL, BLOOM,
     TEXT("\xe4\xbd\xa0\xe5\xa5\xbd\xef\xbc\x8c\xe4\xb8\x96\xe7\x95\x8c\xe3\x80\x82\xe3\x80\x8c\xe3\x83\xbc\xe3\x80\x8d!?"), TEXT("|\xe4\xbd\xa0\xe5\xa5\xbd|\xef\xbc\x8c|\xe4\xb8\x96\xe7\x95\x8c|\xe3\x80\x82|\xe3\x80\x8c\xe3\x83\xbc\xe3\x80\x8d|!?")},
    {NULL, BLOOM,
     TEXT("\xc3\x80" "B \xc7\x85x \xca\xb0" "a \xc2\xaa\xc2\xba\xe1\xb2\x89\xea\x9f\x8b"), TEXT("|\xc3\x80" "B|\xc7\x85x|\xca\xb0" "a|\xc2\xaa\xc2\xba\xe1\xb2\x89\xea\x9f\x8b")},
    {NULL, BLOOM,
     TEXT("\xee\x80\x80\xef\xbf\xbf\xf4\x8f\xbf\xbf\xf0\x9f\xaa\x8f\xe3\x80\x80\xe3\x80\x80x"), TEXT("|\xee\x80\x80\xef\xbf\xbf\xf4\x8f\xbf\xbf\xf0\x9f\xaa\x8f|\xe3\x80\x80\xe3\x80\x80|x")},
    {NULL, BLOOM,
     TEXT("100.000/5-3==x)\x0a/ //"), TEXT("|100|.|000/5-3==x|)\x0a|/|//")},
    {NULL, CJK,
     TEXT("I love you \xf0\x9f\xa9\xb7\xf0\x9f\xab\xa9 hi"), TEXT("|I|love|you|\xf0\x9f\xa9\xb7\xf0\x9f\xab\xa9|hi")},
    {NULL, CJK,
     TEXT("Don'T we'LL i'\xc5\xbf 12345 \xc2\xbd\xd9\xa3x\xc2\xb2"), TEXT("|Don'T|we'LL|i'\xc5\xbf|12345|\xc2\xbd\xd9\xa3x\xc2\xb2")},
    {NULL, CJK,
     TEXT("  a\x0d\x0a\x0d\x0a  b \x09\x0a"), TEXT("||a\x0d\x0a\x0d\x0a||b|\x09\x0a")},
    {NULL, CJK,
     TEXT("e\xcc\x81\xcc\x81o \xc3\xb1.\xed\x95\x9c\xea\xb5\xad \xe0\xa4\xa8\xe0\xa4\xae\xe0\xa4\xb8\xe0\xa5\x8d\xe0\xa4\xa4\xe0\xa5\x87"), TEXT("|e\xcc\x81\xcc\x81o|\xc3\xb1.|\xed\x95\x9c\xea\xb5\xad||\xe0\xa4\xa8\xe0\xa4\xae\xe0\xa4\xb8\xe0\xa5\x8d\xe0\xa4\xa4\xe0\xa5\x87")},
    {NULL, CJK,
     TEXT("\x00" "a\x00 \xe2\x80\x8b\xc2\xad\xe2\x80\xbf_x"), TEXT("|\x00" "a\x00||\xe2\x80\x8b|\xc2\xad|\xe2\x80\xbf|_x")},
    {NULL, CJK,
     TEXT("\xe4\xbd\xa0\xe5\xa5\xbd\xef\xbc\x8c\xe4\xb8\x96\xe7\x95\x8c\xe3\x80\x82\xe3\x80\x8c\xe3\x83\xbc\xe3\x80\x8d!?"), TEXT("|\xe4\xbd\xa0\xe5\xa5\xbd|\xef\xbc\x8c|\xe4\xb8\x96\xe7\x95\x8c\xe3\x80\x82\xe3\x80\x8c\xe3\x83\xbc\xe3\x80\x8d|!?")},
    {NULL, CJK,
     TEXT("\xc3\x80" "B \xc7\x85x \xca\xb0" "a \xc2\xaa\xc2\xba\xe1\xb2\x89\xea\x9f\x8b"), TEXT("|\xc3\x80" "B|\xc7\x85x|\xca\xb0" "a|\xc2\xaa\xc2\xba|\xe1\xb2\x89|\xea\x9f\x8b")},
    {NULL, CJK,
     TEXT("\xee\x80\x80\xef\xbf\xbf\xf4\x8f\xbf\xbf\xf0\x9f\xaa\x8f\xe3\x80\x80\xe3\x80\x80x"), TEXT("|\xee\x80\x80\xef\xbf\xbf\xf4\x8f\xbf\xbf\xf0\x9f\xaa\x8f|\xe3\x80\x80\xe3\x80\x80|x")},
    {NULL, CJK,
     TEXT("100.000/5-3==x)\x0a/ //"), TEXT("|100.000/5-3==x)\x0a/|//")},
    {NULL, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true},{\"type\":\"Metaspace\",\"replacement\":\"|\",\"prepend_scheme\":\"always\",\"split\":false}]}",
     TEXT("\xf0\x91\xb7\xa0" "1\xd9\xa3\xe2\x85\xa7\xc2\xbd\xc2\xb2" "a\xf0\x96\xab\x80"), TEXT("|\xf0\x91\xb7\xa0|1|\xd9\xa3|\xe2\x85\xa7|\xc2\xbd|\xc2\xb2|a|\xf0\x96\xab\x80")},
    {NULL, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":false},{\"type\":\"Metaspace\",\"replacement\":\"|\",\"prepend_scheme\":\"always\",\"split\":false}]}",
     TEXT("\xf0\x91\xb7\xa0" "1\xd9\xa3\xe2\x85\xa7\xc2\xbd\xc2\xb2" "a\xf0\x96\xab\x80"), TEXT("|\xf0\x91\xb7\xa0" "1\xd9\xa3\xe2\x85\xa7\xc2\xbd\xc2\xb2|a|\xf0\x96\xab\x80")},
    {NULL, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Punctuation\",\"behavior\":\"Isolated\"},{\"type\":\"Metaspace\",\"replacement\":\"|\",\"prepend_scheme\":\"always\",\"split\":false}]}",
     TEXT("a$\xe2\xb9\x83\xe1\x99\xad\xf0\x91\x87\x89\xe2\xb9\x82\xe3\x80\x82+b"), TEXT("|a|$|\xe2\xb9\x83|\xe1\x99\xad|\xf0\x91\x87\x89|\xe2\xb9\x82|\xe3\x80\x82|+|b")},
    {NULL, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Whitespace\"},{\"type\":\"Metaspace\",\"replacement\":\"|\",\"prepend_scheme\":\"always\",\"split\":false}]}",
     TEXT("a\xe2\x80\x8d" "b \xc2\xb2" "c\xea\x9f\x8e\xc2\xa0" "d\xe2\xb9\x83!e"), TEXT("|a\xe2\x80\x8d" "b|\xc2\xb2|c|\xea\x9f\x8e|d|\xe2\xb9\x83!|e")},
    {NULL, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"},{\"type\":\"Metaspace\",\"replacement\":\"|\",\"prepend_scheme\":\"always\",\"split\":false}]}",
     TEXT("a\xc2\x85" "b\xe1\xa0\x8e" "c\xe3\x80\x80" "d"), TEXT("|a|b\xe1\xa0\x8e" "c|d")},
    {"{\"type\":\"Lowercase\"}", NULL,
     TEXT("\xea\x9f\x8e\xe1\xb2\x89\xce\xa3\xc4\xb0\xe1\xba\x9e\xc7\x85\xe2\x85\xa7"), TEXT("\xea\x9f\x8f\xe1\xb2\x8a\xcf\x83i\xcc\x87\xc3\x9f\xc7\x86\xe2\x85\xb7")},
    {"{\"type\":\"StripAccents\"}", NULL,
     TEXT("e\xcc\x81\xe1\xb3\xb2\xf0\x91\x87\x89\xe1\xb7\xba\xe1\xba\x94" "a"), TEXT("e\xf0\x91\x87\x89\xe1\xb7\xba\xe1\xba\x94" "a")},
    {"{\"type\":\"NFC\"}", NULL,
     TEXT("\xf0\x91\x8f\x82\xf0\x91\x8f\x82" "e\xcc\x81\xf0\x96\x84\x9e\xf0\x96\x84\x9e\xe1\xb7\xba\xcc\xa3q\xcc\xa3\xcc\x87"), TEXT("\xf0\x91\x8f\x82\xf0\x91\x8f\x82\xc3\xa9\xf0\x96\x84\x9e\xf0\x96\x84\x9e\xe1\xb7\xba\xcc\xa3q\xcc\xa3\xcc\x87")},
    {"{\"type\":\"NFD\"}", NULL,
     TEXT("\xf0\x91\x8f\x85\xc3\xa9\xed\x95\x9c\xf0\x90\x97\x89"), TEXT("\xf0\x91\x8f\x85" "e\xcc\x81\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab\xf0\x90\x97\x89")},
    {"{\"type\":\"NFKC\"}", NULL,
     TEXT("\xef\xac\x81\xe2\x91\xa0\xf0\x9c\xb3\x96\xe3\x8e\x8f\xef\xbd\xb1\xea\x9f\xb2"), TEXT("fi1\xf0\x9c\xb3\x96kg\xe3\x82\xa2\xea\x9f\xb2")},
    {"{\"type\":\"NFKD\"}", NULL,
     TEXT("\xef\xac\x81\xf0\x9e\x80\xb0\xc2\xbd\xc3\x85\xea\x9f\xb3"), TEXT("fi\xf0\x9e\x80\xb0" "1\xe2\x81\x84" "2A\xcc\x8a\xea\x9f\xb3")},
    {"{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"\\\\p{N}{1,2}+\"},\"content\":\"#\"}", NULL,
     TEXT("12345a6"), TEXT("#a#")},
    {"{\"type\":\"Replace\",\"pattern\":{\"String\":\"\\u0000\"},\"content\":\"0\\u00000\"}", NULL,
     TEXT("a\x00" "b"), TEXT("a0\x00" "0b")},
    {"{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"\\u0000|x*\"},\"content\":\".\"}", NULL,
     TEXT("a\x00xxb"), TEXT(".a..b.")},
    {"{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"\"},\"content\":\"-\"}", NULL,
     TEXT("a\xc3\xa9"), TEXT("-a-\xc3\xa9-")},
    {NULL, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x*|-\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"Metaspace\",\"replacement\":\"|\",\"prepend_scheme\":\"always\",\"split\":false}]}",
     TEXT("a-xx-b--x"), TEXT("|a|-|xx|-|b|-|-|x")},
    {NULL, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x*|-\"},\"behavior\":\"Isolated\",\"invert\":true},{\"type\":\"Metaspace\",\"replacement\":\"|\",\"prepend_scheme\":\"always\",\"split\":false}]}",
     TEXT("a-xx-b--x"), TEXT("|a|-|xx|-|b|-|-|x")},
    {NULL, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x*|-\"},\"behavior\":\"Removed\",\"invert\":false},{\"type\":\"Metaspace\",\"replacement\":\"|\",\"prepend_scheme\":\"always\",\"split\":false}]}",
     TEXT("a-xx-b--x"), TEXT("|a|-|-|b|-|-")},
    {NULL, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x*|-\"},\"behavior\":\"Removed\",\"invert\":true},{\"type\":\"Metaspace\",\"replacement\":\"|\",\"prepend_scheme\":\"always\",\"split\":false}]}",
     TEXT("a-xx-b--x"), TEXT("|xx|x")},
    {NULL, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x*|-\"},\"behavior\":\"MergedWithPrevious\",\"invert\":false},{\"type\":\"Metaspace\",\"replacement\":\"|\",\"prepend_scheme\":\"always\",\"split\":false}]}",
     TEXT("a-xx-b--x"), TEXT("|a|-xx|-|b|-|-x")},
    {NULL, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x*|-\"},\"behavior\":\"MergedWithPrevious\",\"invert\":true},{\"type\":\"Metaspace\",\"replacement\":\"|\",\"prepend_scheme\":\"always\",\"split\":false}]}",
     TEXT("a-xx-b--x"), TEXT("|a|-|xx-|b|-|-|x")},
    {NULL, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x*|-\"},\"behavior\":\"MergedWithNext\",\"invert\":false},{\"type\":\"Metaspace\",\"replacement\":\"|\",\"prepend_scheme\":\"always\",\"split\":false}]}",
     TEXT("a-xx-b--x"), TEXT("|a|-|xx-|b|-|-|x")},
    {NULL, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x*|-\"},\"behavior\":\"MergedWithNext\",\"invert\":true},{\"type\":\"Metaspace\",\"replacement\":\"|\",\"prepend_scheme\":\"always\",\"split\":false}]}",
     TEXT("a-xx-b--x"), TEXT("|a|-xx|-|b|-|-x")},
    {NULL, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x*|-\"},\"behavior\":\"Contiguous\",\"invert\":false},{\"type\":\"Metaspace\",\"replacement\":\"|\",\"prepend_scheme\":\"always\",\"split\":false}]}",
     TEXT("a-xx-b--x"), TEXT("|a|-|xx|-|b|-|-|x")},
    {NULL, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x*|-\"},\"behavior\":\"Contiguous\",\"invert\":true},{\"type\":\"Metaspace\",\"replacement\":\"|\",\"prepend_scheme\":\"always\",\"split\":false}]}",
     TEXT("a-xx-b--x"), TEXT("|a|-|xx|-|b|-|-|x")},
    {NULL, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?=b)\"},\"behavior\":\"Removed\",\"invert\":false},{\"type\":\"Metaspace\",\"replacement\":\"|\",\"prepend_scheme\":\"always\",\"split\":false}]}",
     TEXT("abbab"), TEXT("|a|b|ba|b")},
    {NULL, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?=b)\"},\"behavior\":\"MergedWithPrevious\",\"invert\":false},{\"type\":\"Metaspace\",\"replacement\":\"|\",\"prepend_scheme\":\"always\",\"split\":false}]}",
     TEXT("abbab"), TEXT("|a|b|ba|b")},
    {NULL, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?=b)\"},\"behavior\":\"MergedWithNext\",\"invert\":false},{\"type\":\"Metaspace\",\"replacement\":\"|\",\"prepend_scheme\":\"always\",\"split\":false}]}",
     TEXT("abbab"), TEXT("|a|b|ba|b")},
    {NULL, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?=b)\"},\"behavior\":\"Contiguous\",\"invert\":false},{\"type\":\"Metaspace\",\"replacement\":\"|\",\"prepend_scheme\":\"always\",\"split\":false}]}",
     TEXT("abbab"), TEXT("|a|b|ba|b")},
};
/* clang-format on */

/* A tokenizer with `parts` and the tokens <0x00> to <0xFF>, whose ids are the bytes. */
static struct tokenizer *load(const char *parts) {
    struct tokenizer *tok = NULL;
    struct strbuf b = {0};
    strbuf_printf(&b, "{%s\"model\":{\"byte_fallback\":true,\"merges\":[],\"vocab\":{", parts);
    for (unsigned byte = 0; byte < 256; byte++)
        strbuf_printf(&b, "%s\"<0x%02X>\":%u", byte ? "," : "", byte, byte);
    strbuf_puts(&b, "}}}");
    ck_assert(strbuf_ok(&b));
    put_file("tokenizer.json", b.data, b.len);
    strbuf_free(&b);
    ck_assert_ok(tokenizer_load(scratch_path("tokenizer.json"), &tok, &err), &err);
    return tok;
}

static void assert_bytes(const struct tokenizer *tok, const char *text, size_t len,
                         const char *expected, size_t expected_len) {
    struct id_list ids = {0};
    ck_assert_ok(tokenizer_encode(tok, text, len, LLMQ_SPECIAL_NONE, &ids, &err), &err);
    for (size_t i = 0; i < ids.count && i < expected_len; i++)
        ck_assert_msg(ids.ids[i] == (unsigned char)expected[i], "byte %zu is 0x%02x, not 0x%02x", i,
                      (unsigned)ids.ids[i], (unsigned)(unsigned char)expected[i]);
    ck_assert_uint_eq(ids.count, expected_len);
    id_list_free(&ids);
}

START_TEST(test_parts_equal_the_reference) {
    struct strbuf b = {0};
    const char *normalizer = cases[_i].normalizer, *pre_tokenizer = cases[_i].pre_tokenizer;
    strbuf_printf(&b, "\"normalizer\":%s,\"pre_tokenizer\":%s,", normalizer ? normalizer : "null",
                  pre_tokenizer ? pre_tokenizer : "null");
    ck_assert(strbuf_ok(&b));
    struct tokenizer *tok = load(b.data);
    assert_bytes(tok, cases[_i].text, cases[_i].len, cases[_i].expected, cases[_i].expected_len);
    strbuf_free(&b);
    tokenizer_free(&tok);
}
END_TEST

/* The tokens' ids are 256 and 257: the id in the file only counts where it is in the vocabulary. */
static const struct {
    const char *tokens; /* JSON objects without id */
    const char *text;
    size_t len;
    int ids[8]; /* ended by -1 */
} added_cases[] = {
#define TOKEN(content, flags)                                                                      \
    "{\"id\":300,\"content\":\"" content "\",\"normalized\":false" flags "}"
#define LSTRIP ",\"lstrip\":true"
#define RSTRIP ",\"rstrip\":true"
#define WORD   ",\"single_word\":true"
    /* clang-format off */
    {TOKEN("<e>", RSTRIP) "," TOKEN("\\n", LSTRIP), TEXT("<e>\nx"), {256, 'x', -1}},
    {TOKEN("<e>", RSTRIP) "," TOKEN("\\n", LSTRIP), TEXT("a <e>\n"), {'a', ' ', 256, -1}},
    {TOKEN("<e>", RSTRIP) "," TOKEN("\\n", ""), TEXT("<e>\nx"), {256, 257, 'x', -1}},
    {TOKEN("<e>", RSTRIP) "," TOKEN("\\n", ""), TEXT("<e> \n x"), {256, 257, ' ', 'x', -1}},
    {TOKEN("<e>", RSTRIP LSTRIP) "," TOKEN("  ", ""), TEXT("a  <e>  b"), {'a', 257, 256, 257, 'b', -1}},
    {TOKEN("ab", WORD) "," TOKEN("b", ""), TEXT("xab"), {'x', 'a', 'b', -1}},
    {TOKEN("ab", WORD) "," TOKEN("b", ""), TEXT("ab\xc2\xb2"), {256, 0xc2, 0xb2, -1}},
    {TOKEN("a\\u0000b", "") "," TOKEN("a\\u0000", ""), TEXT("a\0b"), {256, -1}},
    {TOKEN("a\\u0000b", "") "," TOKEN("a\\u0000", ""), TEXT("xa\0a"), {'x', 257, 'a', -1}},
    /* llmq's own: the reference fails where a token lies within what another took along */
    {TOKEN("<e>", RSTRIP) "," TOKEN("\\n", LSTRIP), TEXT("<e>\n \nx"), {256, 'x', -1}},
    /* clang-format on */
};

START_TEST(test_added_tokens_equal_the_reference) {
    struct strbuf b = {0};
    struct id_list ids = {0};
    strbuf_printf(&b, "\"added_tokens\":[%s],", added_cases[_i].tokens);
    ck_assert(strbuf_ok(&b));
    struct tokenizer *tok = load(b.data);
    size_t len = added_cases[_i].len, i = 0;
    ck_assert_ok(tokenizer_encode(tok, added_cases[_i].text, len, LLMQ_SPECIAL_NONE, &ids, &err),
                 &err);
    for (; added_cases[_i].ids[i] >= 0; i++)
        ck_assert_msg(i < ids.count && ids.ids[i] == added_cases[_i].ids[i], "id %zu", i);
    ck_assert_uint_eq(ids.count, i);
    strbuf_free(&b);
    id_list_free(&ids);
    tokenizer_free(&tok);
}
END_TEST

/* "a" NUL is a token made by a merge, in both spellings; what only begins like it is not. */
START_TEST(test_vocabularies_and_merges_hold_nul) {
    static const char *const merges[] = {"\"a \\u0000\"", "[\"a\",\"\\u0000\"]"};
    for (size_t i = 0; i < 2; i++) {
        struct tokenizer *tok = NULL;
        struct id_list ids = {0};
        struct strbuf b = {0};
        strbuf_printf(
            &b,
            "{\"model\":{\"vocab\":{\"a\":0,\"\\u0000\":1,\"a\\u0000\":2,\"\\\\u0000\":3},"
            "\"merges\":[%s]}}",
            merges[i]);
        put_file("tokenizer.json", b.data, b.len);
        ck_assert_ok(tokenizer_load(scratch_path("tokenizer.json"), &tok, &err), &err);
        ck_assert_ok(tokenizer_encode(tok, "a\0\0a", 4, LLMQ_SPECIAL_NONE, &ids, &err), &err);
        ck_assert_uint_eq(ids.count, 3);
        ck_assert_int_eq(ids.ids[0], 2);
        ck_assert_int_eq(ids.ids[1], 1);
        ck_assert_int_eq(ids.ids[2], 0);
        strbuf_free(&b);
        id_list_free(&ids);
        tokenizer_free(&tok);
    }
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

int main(void) {
    Suite *suite = suite_create("tokenizer_parts");
    TCase *tcase = tcase_create("parts");
    tcase_add_checked_fixture(tcase, scratch_setup, scratch_teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, test_parts_equal_the_reference, 0, COUNT(cases));
    tcase_add_loop_test(tcase, test_added_tokens_equal_the_reference, 0, COUNT(added_cases));
    tcase_add_test(tcase, test_vocabularies_and_merges_hold_nul);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
