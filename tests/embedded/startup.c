/* The least that runs main() on an emulated Cortex-M4: its result becomes the exit code of the emulator. */
#include <stdint.h>

extern uint32_t data_begin, data_end, data_source, bss_begin, bss_end, stack_top;
int main(void);

/* Semihosting (Arm's specification, "SYS_EXIT_EXTENDED"): bkpt 0xab with the operation in r0. */
static void leave(int code) {
  static uint32_t block[2] = {0x20026, 0}; /* ADP_Stopped_ApplicationExit */
  register uint32_t operation __asm__("r0") = 0x20;
  register uint32_t *argument __asm__("r1") = block;
  block[1] = (uint32_t)code;
  __asm__ volatile("bkpt 0xab" : : "r"(operation), "r"(argument) : "memory");
  for (;;) {
  }
}

static void fault(void) { leave(255); }

void reset(void) {
  uint32_t *to;
  const uint32_t *from = &data_source;
  *(volatile uint32_t *)0xe000ed88 |= 0xf00000; /* CPACR: the FPU is there for everybody */
  __asm__ volatile("dsb\n\tisb");
  for (to = &data_begin; to < &data_end; ++to) *to = *from++;
  for (to = &bss_begin; to < &bss_end; ++to) *to = 0;
  leave(main());
}

__attribute__((section(".vectors"), used)) static const uintptr_t vectors[16] = {
    (uintptr_t)&stack_top, (uintptr_t)reset, (uintptr_t)fault, (uintptr_t)fault,
    (uintptr_t)fault,      (uintptr_t)fault, (uintptr_t)fault};
