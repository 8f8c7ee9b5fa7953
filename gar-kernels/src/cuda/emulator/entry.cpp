// What the library of one kernel exports. It stands behind the kernel's own text; GAR_FUNCTION is the kernel.
#include <mutex>
#include <utility>

namespace emulator {

// One letter for each parameter, as `Argument` has it.
template <typename T> constexpr char letter() {
    if (std::is_pointer_v<T>) return 'p';
    if (std::is_same_v<T, float>) return 'f';
    if (std::is_same_v<T, int>) return 'i';
    if (std::is_same_v<T, unsigned>) return 'u';
    if (std::is_integral_v<T> && std::is_unsigned_v<T> && sizeof(T) == 8) return 'U';
    return '?';
}

template <typename Function> struct Signature;
template <typename... T> struct Signature<void (*)(T...)> {
    static constexpr char letters[] = {letter<T>()..., 0};

    static void call(void* const* arguments) { call_with(arguments, std::index_sequence_for<T...>()); }

    template <size_t... I> static void call_with(void* const* arguments, std::index_sequence<I...>) {
        (void)arguments;
        GAR_FUNCTION(*(T*)arguments[I]...);
    }
};

} // namespace emulator

typedef emulator::Signature<decltype(&GAR_FUNCTION)> Kernel;

extern "C" __attribute__((visibility("default"))) const char* gar_signature() { return Kernel::letters; }

// 0, or 1 with what went wrong in `message`.
extern "C" __attribute__((visibility("default"))) int gar_run(const emulator::Launch* launch, void* const* arguments,
                                                               char* message, size_t capacity) {
    // The state of a launch is static: one at a time.
    static std::mutex one;
    std::lock_guard<std::mutex> guard(one);
    const char* error = emulator::run_grid(launch, Kernel::call, arguments);
    if (error) snprintf(message, capacity, "%s", error);
    return error != nullptr;
}
