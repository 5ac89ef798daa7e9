// Enough of CUDA to run its kernels on a CPU: one thread for each thread of a block, one block after the other.
#pragma once
#include <atomic>
#include <barrier>
#include <cmath>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#define __global__
#define __launch_bounds__(threads, blocks)
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define __align__(n) __attribute__((aligned(n)))

struct Place {
    unsigned x, y, z;
};
struct ulonglong2 {
    unsigned long long x, y;
};
static thread_local Place threadIdx, blockIdx;
static Place blockDim, gridDim;
static std::unique_ptr<std::barrier<>> block_barrier;

inline void __syncthreads() { block_barrier->arrive_and_wait(); }
template <typename T> T atomicAdd(T* sum, T value) { return std::atomic_ref<T>(*sum).fetch_add(value); }
inline ulonglong2 make_ulonglong2(unsigned long long x, unsigned long long y) { return {x, y}; }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}
inline float __int_as_float(int bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
inline int __float_as_int(float value) {
    int bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}
inline double __longlong_as_double(long long bits) {
    double value;
    std::memcpy(&value, &bits, 8);
    return value;
}

template <typename Kernel> void launch(unsigned blocks, unsigned columns, unsigned rows, Kernel kernel) {
    blockDim = {columns, rows, 1};
    gridDim = {blocks, 1, 1};
    block_barrier = std::make_unique<std::barrier<>>(columns * rows);
    std::vector<std::thread> threads;
    for (unsigned y = 0; y < rows; ++y)
        for (unsigned x = 0; x < columns; ++x)
            threads.emplace_back([=] {
                threadIdx = {x, y, 0};
                for (unsigned block = 0; block < blocks; ++block) {
                    blockIdx = {block, 0, 0};
                    kernel();
                    __syncthreads();
                }
            });
    for (auto& thread : threads) thread.join();
}
