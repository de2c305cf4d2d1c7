/* Host arrays on the emulated device and back, for tests. */
#ifndef FBT_TESTS_EMULATED_DEVICE_ARRAY_H
#define FBT_TESTS_EMULATED_DEVICE_ARRAY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
extern "C" {
#include <cmocka.h>
}

#include <cuda_runtime_api.h>
#include <vector>

#define assert_cuda(call) assert_int_equal((call), cudaSuccess)

/* n items of device memory, poisoned or as given; freed at the end of the scope. */
template <typename Item> class Device_array
{
  public:
    explicit Device_array(size_t n) : n_(n)
    {
        assert_cuda(cudaMalloc(reinterpret_cast<void **>(&items_), n * sizeof(Item)));
    }
    explicit Device_array(const std::vector<Item> &host) : Device_array(host.size())
    {
        assert_cuda(cudaMemcpy(items_, host.data(), n_ * sizeof(Item), cudaMemcpyHostToDevice));
    }
    Device_array(const Device_array &) = delete;
    Device_array &operator=(const Device_array &) = delete;
    ~Device_array()
    {
        cudaFree(items_);
    }
    Item *get() const
    {
        return items_;
    }
    /* Waits for what is queued on the legacy stream. */
    std::vector<Item> read() const
    {
        std::vector<Item> host(n_);
        assert_cuda(cudaMemcpy(host.data(), items_, n_ * sizeof(Item), cudaMemcpyDeviceToHost));
        return host;
    }

  private:
    Item *items_ = nullptr;
    size_t n_;
};

#endif
