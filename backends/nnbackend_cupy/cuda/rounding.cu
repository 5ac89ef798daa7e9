// Round what atomics have added up to the type of the array.
extern "C" __global__ void nn_round(const Total* sums, Stored* rounded, const long long size) {
    const long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (place < size) rounded[place] = STORE((Value)sums[place]);
}
