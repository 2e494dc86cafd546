#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Generated text on the command line: the text alone on stdout, the same from prompts, files and
# JSON; chats; two models; what is refused.
. "$(dirname "$0")/lib.sh"

pin_kernels

test_case "generate writes the text to stdout and tells the rates on stderr"
run generate "$demo" --prompt 'My fellow citizens' --max-tokens 8 --no-progress
expect_code 0
expect_stderr "prompt of 4 tokens"
expect_stderr "8 generated"
cp stdout text

test_case "the same from a file, from standard input, and by the bits of another thread"
printf 'My fellow citizens' >prompt.txt
run generate "$demo" --prompt-file prompt.txt --max-tokens 8 -q
expect_code 0
expect_no_stderr
expect "the same text" cmp -s stdout text
run_on prompt.txt generate "$demo" --prompt-file - --max-tokens 8 --threads 1 -q
expect "the same text" cmp -s stdout text

test_case "--json has text, ids and rates"
run generate "$demo" --prompt 'My fellow citizens' --max-tokens 8 --json -q
expect_code 0
expect_json tokens 8
expect_json prompt_tokens 4
expect_json end length
expect "the text" grep -qF "$(cat text)" stdout

test_case "--stop ends it before that text"
run generate "$demo" --prompt 'My fellow citizens' --stop "$(cut -c 12-15 text)" --json -q
expect_code 0
expect_json end text

test_case "draws depend on the seed alone"
run generate "$demo" --prompt 'My ' --max-tokens 8 --temperature 1 --seed 3 -q
expect_code 0
cp stdout drawn
run generate "$demo" --prompt 'My ' --max-tokens 8 --temperature 1 --seed 3 -q --threads 1
expect "the same text" cmp -s stdout drawn

test_case "--chat: the model's own template, with the beginning of an answer"
mkdir chat
for file in config.json model.safetensors tokenizer.json tokenizer_config.json; do
    cp "$demo/$file" chat/
done
cat >chat/chat_template.jinja <<'EOF'
{% for m in messages %}{{ m.role }}: {{ m.content }}
{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}
EOF
run generate chat --chat --system 'Be brief.' --prompt 'Why?' --max-tokens 4 --json -q
expect_code 0
printf 'system: Be brief.\nuser: Why?\nassistant:' >written.txt
run tokenize chat --text written.txt --no-special
count=$(tr -cd , <stdout | wc -c)
run generate chat --chat --system 'Be brief.' --prompt 'Why?' --max-tokens 4 --json -q
expect_json prompt_tokens $((count + 1))
run generate "$demo" --chat --prompt 'Why?'
expect_code 3
expect_stderr "the model has no chat template"

test_case "--against shows both texts and where they part"
run rtn --model "$demo" --bits 2 --group 64 --out coarse -q
expect_code 0
run generate coarse --prompt 'My fellow citizens' --max-tokens 8 --against "$demo" -q
expect_code 0
expect_stdout "they part at token"
expect_stdout "original"
run generate "$demo" --prompt 'My fellow citizens' --max-tokens 4 --against "$demo" --json -q
expect_code 0
expect "they do not part" grep -q '"parts_at": null' stdout

test_case "what is refused, and how one gets on"
run generate "$demo"
expect_code 2
expect_stderr "nothing to continue: neither --prompt nor --prompt-file"
run generate "$demo" --prompt '' -q
expect_code 2
expect_stderr "the value is empty"
run generate "$demo" --prompt-file /dev/null --no-special -q
expect_code 2
expect_stderr "the prompt is empty"
run generate "$demo" --prompt a --max-tokens 0
expect_code 2
expect_stderr "max-tokens"
run generate "$demo" --prompt a --top-k 5 -q
expect_code 2
expect_stderr "without a temperature"
run generate "$demo" --prompt a --system b
expect_code 2
expect_stderr "give --chat"
run generate "$demo" --prompt a --activations int8 -q
expect_code 2
expect_stderr "is not quantized"
printf 'a\377b' >broken.txt
run generate "$demo" --prompt-file broken.txt -q
expect_code 3
expect_stderr "the prompt: the text is not UTF-8: byte 1"
cat "$demo/eval.txt" >long.txt
run generate "$demo" --prompt-file long.txt -q
expect_code 2
expect_stderr "of which the answer needs one at least"
run generate "$demo" --prompt a --max-mem 1M -q
expect_code 5
expect_stderr "give at least --max-mem"
mkdir encoder
printf '{"model_type": "bert", "architectures": ["BertModel"]}' >encoder/config.json
run generate encoder --prompt a -q
expect_code 3
expect_no_stdout

finish
