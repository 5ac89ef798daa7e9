// Take rows of a table; a number that is no row's gives NaN.
extern "C" __global__ void nn_take_rows(
    const long long* indices, const Stored* table, Stored* taken, const long long size, const long long columns,
    const long long length
) {
    const long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= size) return;
    const long long index = indices[place / columns];
    const bool there = index >= 0 && index < length;
    taken[place] = there ? table[index * columns + place % columns] : STORE(nn_nan<Value>());
}
