// Places in the order of their indices, and where the run of each index starts.
//
// Sorted are keys that hold the index above and the place below 32 bits. No two are equal, so that a key's rank is how
// many are less, and equal indices stay in the order in which they came.

// Make keys, and sort each tile of as many as a block has threads. Indices that name no row come last.
extern "C" __global__ void nn_sort_tiles(
    const long long* indices, unsigned long long* keys, const long long count, const long long length,
    const long long wraps
) {
    __shared__ unsigned long long tile[1024];
    const long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    const long long first = (long long)blockIdx.x * blockDim.x;
    const int own = (int)(count - first < (long long)blockDim.x ? count - first : (long long)blockDim.x);
    unsigned long long key = 0;
    if (place < count) {
        long long index = indices[place];
        if (wraps && index < 0) index += length;
        if (index < 0 || index > length) index = length;
        key = ((unsigned long long)index << 32) | (unsigned long long)place;
        tile[threadIdx.x] = key;
    }
    __syncthreads();
    if (place < count) {
        int rank = 0;
        for (int other = 0; other < own; ++other) rank += tile[other] < key;
        keys[first + rank] = key;
    }
}

// Merge neighbouring runs of sorted keys: a key's place is its own rank plus its rank in the other run.
extern "C" __global__ void nn_merge_runs(
    const unsigned long long* keys, unsigned long long* merged, const long long count, const long long width
) {
    const long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= count) return;
    const unsigned long long key = keys[place];
    const long long pair = place / (2 * width) * (2 * width);
    const long long middle = pair + width < count ? pair + width : count;
    const long long end = pair + 2 * width < count ? pair + 2 * width : count;
    const long long start = place < middle ? middle : pair;
    long long low = start;
    long long high = place < middle ? end : middle;
    while (low < high) {
        const long long half = (low + high) / 2;
        if (keys[half] < key) low = half + 1;
        else high = half;
    }
    const long long rank = place - (place < middle ? pair : middle);
    merged[pair + rank + (low - start)] = key;
}

// Find where the run of each index starts; that of the one behind the last ends the list.
extern "C" __global__ void nn_run_starts(
    const unsigned long long* keys, long long* starts, const long long count, const long long length
) {
    const long long index = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (index > length) return;
    long long low = 0;
    long long high = count;
    while (low < high) {
        const long long half = (low + high) / 2;
        if ((long long)(keys[half] >> 32) < index) low = half + 1;
        else high = half;
    }
    starts[index] = low;
}
