/* From a form to bytes. */
#ifndef BRINGUP_ORACLE_ENCODE_H
#define BRINGUP_ORACLE_ENCODE_H

#include "layout.h"

#define MAP_VEX 4 /* oracle_form.map: VEX map 1; the next are 2 and 3 */

/* A prefix byte that chooses the form; 0: none. */
static inline uint8_t prefix_byte(const struct oracle_form *form)
{
    static const uint8_t bytes[4] = {0, 0x66, 0xf3, 0xf2};
    return bytes[form->prefix];
}

/* REX or VEX, escape bytes and opcode; `rxb` as REX has them, `vvvv` as a register number. */
static inline unsigned encode_opcode(const struct oracle_form *form, uint8_t *to, bool rex, uint8_t rxb, uint8_t vvvv,
                                     bool short_vex)
{
    unsigned n = 0;
    if (form->map >= MAP_VEX) {
        uint8_t last = (~vvvv & 15) << 3 | form->l << 2 | form->prefix;
        if (short_vex && form->map == MAP_VEX && !form->w && !(rxb & 3)) {
            to[n++] = 0xc5;
            to[n++] = (~rxb << 5 & 0x80) | last;
        } else {
            to[n++] = 0xc4;
            to[n++] = (~rxb << 5 & 0xe0) | (form->map - MAP_VEX + 1);
            to[n++] = form->w << 7 | last;
        }
    } else {
        if (rex || form->w)
            to[n++] = 0x40 | form->w << 3 | rxb;
        if (form->map)
            to[n++] = 0x0f;
        if (form->map > 1)
            to[n++] = form->map == 2 ? 0x38 : 0x3a;
    }
    to[n++] = form->opcode;
    return n;
}

/* The simplest of its instructions. */
static inline void encode_plain(const struct oracle_form *form, uint8_t *bytes)
{
    unsigned n = 0;
    if (form->map < MAP_VEX && form->prefix)
        bytes[n++] = prefix_byte(form);
    n += encode_opcode(form, bytes + n, false, 0, 0, false);
    if (form->operand)
        bytes[n++] = (form->operand == 1 ? 0xc0 : 0) | (form->reg == 0xff ? 0 : form->reg) << 3 |
                     (form->rm == 0xff ? 3 : form->rm);
}

#endif
