// Rows added up by index: in a fixed order and without atomics, by sorting and adding up each run of equal indices; or by
// atomics, in the order in which they happen to come.
//
// Sorted are keys that hold the index above and the place below 32 bits. No two are equal, so that a key's rank is how
// many are less, and equal indices stay in the order in which they came. CHUNK sorted rows are added up at a time.

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

// Add up the runs within each chunk of sorted rows. A run that is whole there is done; of one that goes beyond, the
// part is kept: beside the chunk's first part where the run begins before the chunk or with it, else as its second.
extern "C" __global__ void nn_sum_chunks(
    const Stored* rows, const unsigned long long* keys, const long long* starts, Stored* sums, Sum* parts,
    const long long count, const long long columns, const long long length
) {
    const long long tiles = (columns + blockDim.x - 1) / blockDim.x;
    const long long chunk = blockIdx.x / tiles;
    const long long column = blockIdx.x % tiles * blockDim.x + threadIdx.x;
    if (column >= columns) return;
    const long long begin = chunk * CHUNK;
    const long long end = begin + CHUNK < count ? begin + CHUNK : count;
    Sum sum = 0;
    for (long long place = begin; place < end; ++place) {
        const long long index = (long long)(keys[place] >> 32);
        if (index >= length) return;
        sum += (Sum)LOAD(rows[(long long)(keys[place] & 0xffffffffULL) * columns + column]);
        if (place + 1 < end && (long long)(keys[place + 1] >> 32) == index) continue;
        const long long start = starts[index];
        if (start >= begin && starts[index + 1] <= end) sums[index * columns + column] = STORE((Value)sum);
        else parts[(2 * chunk + (start > begin)) * columns + column] = sum;
        sum = 0;
    }
}

// Add up the parts of runs that go over several chunks, and write zeros where no row goes.
extern "C" __global__ void nn_sum_parts(
    const long long* starts, const Sum* parts, Stored* sums, const long long columns, const long long size
) {
    const long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= size) return;
    const long long index = place / columns;
    const long long column = place % columns;
    const long long start = starts[index];
    const long long end = starts[index + 1];
    if (start == end) {
        sums[place] = STORE((Value)0);
        return;
    }
    const long long first = start / CHUNK;
    const long long last = (end - 1) / CHUNK;
    if (first == last) return;
    Sum sum = parts[(2 * first + (start > first * CHUNK)) * columns + column];
    for (long long chunk = first + 1; chunk <= last; ++chunk) sum += parts[2 * chunk * columns + column];
    sums[place] = STORE((Value)sum);
}

// Add each row to that of its index, in no order; the sums are zeros before. Indices that name no row go nowhere.
extern "C" __global__ void nn_add_rows_atomic(
    const long long* indices, const Stored* rows, Total* sums, const long long size, const long long columns,
    const long long length, const long long wraps
) {
    const long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= size) return;
    long long index = indices[place / columns];
    if (wraps && index < 0) index += length;
    if (index < 0 || index >= length) return;
    nn_add_atomic(sums + (index * columns + place % columns), (Total)LOAD(rows[place]));
}
