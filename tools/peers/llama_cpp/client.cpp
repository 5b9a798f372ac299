// All tokens' log-probabilities of one text by llama.cpp, on request: for every line on standard input the text is scored once and a JSON line is printed.
//
// usage: llama-peer MODEL.gguf TOKENS THREADS
//
// One decode of the whole text with logits for every token, then a log-sum-exp of each row on THREADS threads: what an application does that
// wants log-probabilities, since the library itself keeps none.

#include "llama.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

// ln softmax(row)[target]. Sixteen sums, so that the compiler may use vectors without reordering what the source says.
static double log_prob(const float * row, int vocab, int target) {
    float most = row[0];
    for (int j = 1; j < vocab; j++) {
        most = row[j] > most ? row[j] : most;
    }
    float sums[16] = {0};
    int j = 0;
    for (; j + 16 <= vocab; j += 16) {
        for (int k = 0; k < 16; k++) {
            sums[k] += std::exp(row[j + k] - most);
        }
    }
    double sum = 0;
    for (; j < vocab; j++) {
        sum += std::exp(row[j] - most);
    }
    for (float s : sums) {
        sum += s;
    }
    return (double) row[target] - most - std::log(sum);
}

int main(int argc, char ** argv) {
    if (argc != 4) {
        return std::fprintf(stderr, "usage: llama-peer MODEL.gguf TOKENS THREADS\n"), 2;
    }
    const int n = std::atoi(argv[2]), threads = std::atoi(argv[3]);
    llama_log_set([](ggml_log_level level, const char * text, void *) {
        if (level == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
    }, nullptr);
    llama_backend_init();
    llama_model * model = llama_model_load_from_file(argv[1], llama_model_default_params());
    if (!model) {
        return std::fprintf(stderr, "%s: cannot be loaded\n", argv[1]), 1;
    }
    const int vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = n;
    params.n_ubatch = 512;
    params.n_threads = params.n_threads_batch = threads;
    params.n_seq_max = 1;
    llama_context * context = llama_init_from_model(model, params);
    if (!context) {
        return std::fprintf(stderr, "no context of %d tokens\n", n), 1;
    }
    std::vector<llama_token> ids(n);
    for (int i = 0; i < n; i++) {
        ids[i] = (llama_token) (((long) i * 7919 + 13) % 50000);
    }
    llama_batch batch = llama_batch_init(n, 0, 1);
    batch.n_tokens = n;
    for (int i = 0; i < n; i++) {
        batch.token[i] = ids[i];
        batch.pos[i] = i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = i + 1 < n;
    }
    std::printf("{\"version\": \"%s\"}\n", llama_print_system_info());
    std::fflush(stdout);
    for (std::string line; std::getline(std::cin, line);) {
        llama_memory_clear(llama_get_memory(context), true);
        const auto begin = std::chrono::steady_clock::now();
        if (llama_decode(context, batch)) {
            return std::fprintf(stderr, "decode failed\n"), 1;
        }
        llama_synchronize(context);
        const auto decoded = std::chrono::steady_clock::now();
        std::vector<double> sums(threads, 0.0);
        std::vector<std::thread> workers;
        for (int w = 0; w < threads; w++) {
            workers.emplace_back([&, w] {
                for (int i = w; i + 1 < n; i += threads) {
                    sums[w] += log_prob(llama_get_logits_ith(context, i), vocab, ids[i + 1]);
                }
            });
        }
        double sum = 0;
        for (int w = 0; w < threads; w++) {
            workers[w].join();
            sum += sums[w];
        }
        const auto end = std::chrono::steady_clock::now();
        const auto seconds = [](auto t) { return std::chrono::duration<double>(t).count(); };
        std::printf("{\"seconds\": %.6f, \"decode_seconds\": %.6f, \"tokens\": %d, \"sum\": %.6f}\n", seconds(end - begin), seconds(decoded - begin), n, sum);
        std::fflush(stdout);
    }
    llama_batch_free(batch);
    llama_free(context);
    llama_model_free(model);
}
