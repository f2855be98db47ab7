// Counts lines, words and bytes of standard input, or of the files named as arguments, as `wc` does.
//
// clang --target=wasm32-wasi -Os word-count.c -o word-count-c.wasm
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct counts {
    unsigned long lines, words, bytes;
};

static struct counts count(FILE *input) {
    struct counts counts = {0, 0, 0};
    bool in_word = false;
    for (int c; (c = getc(input)) != EOF;) {
        counts.bytes++;
        counts.lines += c == '\n';
        counts.words += !in_word && !isspace(c);
        in_word = !isspace(c);
    }
    return counts;
}

static void print(struct counts counts, const char *name) {
    printf("%lu %lu %lu%s%s\n", counts.lines, counts.words, counts.bytes, *name ? " " : "", name);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        print(count(stdin), "");
        return 0;
    }
    int status = 0;
    for (int i = 1; i < argc; i++) {
        FILE *input = fopen(argv[i], "rb");
        if (!input) {
            fprintf(stderr, "word-count: %s: %s\n", argv[i], strerror(errno));
            status = 1;
            continue;
        }
        print(count(input), argv[i]);
        fclose(input);
    }
    return status;
}
