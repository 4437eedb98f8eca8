// Runs prepare.cu on the CPU, thread after thread: one job on stdin, the output and the word of faults on stdout.
//
// A job is 6 uint32 (grid, block), 4 uint64 (bytes of picture, map, table, output), Parameters, picture, map, table.
// Every buffer has exactly its size, so that the address sanitizer sees each byte read or written beside it.

#include "prepare.cu"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void take(void* into, size_t bytes) {
    if (fread(into, 1, bytes, stdin) != bytes) {
        fprintf(stderr, "the job ends too early\n");
        exit(2);
    }
}

static void* buffer(size_t bytes) { return bytes ? malloc(bytes) : nullptr; }

static void* taken(size_t bytes) {
    void* data = buffer(bytes);
    take(data, bytes);
    return data;
}

int main() {
    uint32_t shape[6];
    uint64_t bytes[4];
    Parameters parameters;
    take(shape, sizeof shape);
    take(bytes, sizeof bytes);
    take(&parameters, sizeof parameters);
    void* picture = taken(bytes[0]);
    void* map = taken(bytes[1]);
    void* table = taken(bytes[2]);
    void* output = buffer(bytes[3]);
    unsigned* faults = static_cast<unsigned*>(buffer(sizeof(unsigned)));
    memset(output, 0xEE, bytes[3]);
    *faults = 0;
    blockDim = {shape[3], shape[4], shape[5]};
    for (uint32_t i = 0; i < shape[0] * shape[1]; ++i) {
        blockIdx = {i % shape[0], i / shape[0], 0};
        for (uint32_t j = 0; j < shape[3] * shape[4]; ++j) {
            threadIdx = {j % shape[3], j / shape[3], 0};
            edge_inspector_prepare(
                parameters, static_cast<unsigned char*>(picture), static_cast<float2*>(map), table, output, faults);
        }
    }
    const bool written = fwrite(output, 1, bytes[3], stdout) == bytes[3] && fwrite(faults, 4, 1, stdout) == 1;
    free(picture), free(map), free(table), free(output), free(faults);
    return written ? 0 : 3;
}
