/* Ends of a machine. Each is run alone; all is right when the machine ends so and never says another word. */
#include "acpi.h"
#include "behaviour.h"

FINAL(triple_fault, "triple-fault", "SDM vol. 3 6.15 #DF: a fault while a double fault is delivered shuts the processor down")
{
    load_idt(0);
    asm volatile("ud2");
}

FINAL(triple_fault_interrupt, "triple-fault", "SDM vol. 3 6.15 #DF: INT n beyond the IDT's limit, and no gate for what follows")
{
    load_idt(0);
    asm volatile("int $0x80");
}

FINAL(power_off, "power-off", "ACPI 6.5 4.8.3.2: SLP_EN with the type of \\_S5 switches the machine off")
{
    acpi_power_off();
    for (volatile unsigned i = 0; i < 100000000; i++)
        ;
}

FINAL(reset_control, "reset", "PIIX3, port CF9h: a reset of the processor")
{
    outb(0xcf9, 2);
    outb(0xcf9, 6);
    for (volatile unsigned i = 0; i < 100000000; i++)
        ;
}

FINAL(reset_keyboard_controller, "reset", "8042, command FEh: bit 0 of the output port resets the processor")
{
    outb(0x64, 0xfe);
    for (volatile unsigned i = 0; i < 100000000; i++)
        ;
}
