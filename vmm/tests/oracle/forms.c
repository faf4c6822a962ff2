/* All encodings, as the decoder sees them: every opcode of every map with every prefix, width and kind of operand that
 * can choose another operation. What the decoder does not know is kept too: it must be #UD. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "processor/decode.h"
#include "processor/integer.h"

#include "encode.h"

#define MAPS 7 /* four legacy ones, VEX 1 to 3 */

struct oracle_form *forms;
uint32_t form_count;

static uint32_t room;

static const struct opcode *row_of(const struct oracle_form *form)
{
    const struct opcode *row = &opcode_table[form->map][form->opcode];
    while (row->attributes & A_GROUP)
        row = &row->group[form->reg & 7];
    return row;
}

/* Instructions that leave the process, and those whose result the kernel (UMIP) or a hypervisor makes up. */
static bool is_away(const struct oracle_form *form)
{
    if (form->map == MAP_ONE)
        return form->opcode == 0xf1; /* INT1: under a hypervisor the address that it reports may be its own */
    if (form->map != MAP_0F)
        return false;
    switch (form->opcode) {
    case 0x05: case 0x34: return true; /* SYSCALL, SYSENTER */
    case 0x00: return form->reg < 2;   /* SLDT, STR */
    case 0x01:
        return form->operand == 2 ? form->reg < 2 || form->reg == 4                        /* SGDT, SIDT, SMSW */
                                  : form->reg == 4 || (form->reg == 0 && form->rm == 1) || /* VMCALL, VMMCALL */
                                        (form->reg == 3 && form->rm == 1);
    default: return false;
    }
}

/* What each form decoded to, and where the forms of the current opcode begin. */
static struct op *decoded;
static uint32_t opcode_begins;

static uint32_t entry_of(const struct oracle_form *form, const struct op *op)
{
    for (uint32_t i = opcode_begins; i < form_count; i++)
        if (forms[i].entry == i && forms[i].reg == form->reg && forms[i].rm == form->rm &&
            forms[i].operand == form->operand && decoded[i].fn == op->fn && decoded[i].size == op->size &&
            decoded[i].imm == op->imm)
            return i;
    return form_count;
}

static bool grow(void)
{
    if (form_count < room)
        return true;
    room = room ? 2 * room : 1 << 15;
    forms = realloc(forms, room * sizeof *forms);
    decoded = realloc(decoded, room * sizeof *decoded);
    return forms && decoded;
}

static bool add(struct oracle_form *form)
{
    uint8_t bytes[32] = {0};
    struct op op = {0};
    bool ends;
    encode_plain(form, bytes);
    if (!decode_instruction(guest_processor(), guest_decode_mode(form->mode), bytes, 15, &op, &ends))
        return true; /* longer than what was tried: not an opcode of its own */
    form->known = op.fn != op_ud;
    form->size = op.size;
    memset(form->plain, 0x90, sizeof form->plain);
    memcpy(form->plain, bytes, op.length < sizeof form->plain ? op.length : sizeof form->plain);
    form->away = is_away(form);
    form->entry = entry_of(form, &op);
    if (form->map < MAP_VEX) {
        const struct opcode *row = row_of(form);
        form->privileged = (row->attributes & A_CPL0) != 0;
        snprintf(form->name, sizeof form->name, "%s", row->name ? row->name : "");
    } else {
        snprintf(form->name, sizeof form->name, "vex");
    }
    if (!grow())
        return false;
    decoded[form_count] = op;
    forms[form_count++] = *form;
    return true;
}

/* Does ModRM.reg belong to the opcode? And with a register operand ModRM.rm too? */
static bool reg_counts(const struct oracle_form *form)
{
    if (form->map < MAP_VEX) {
        const struct opcode *row = &opcode_table[form->map][form->opcode];
        return row->attributes & A_GROUP || row->set_up == set_up_x87 ||
               (form->map == MAP_0F && form->opcode >= 0x71 && form->opcode <= 0x73);
    }
    return (form->map == MAP_VEX && ((form->opcode >= 0x71 && form->opcode <= 0x73) || form->opcode == 0xae)) ||
           (form->map == MAP_VEX + 1 && form->opcode == 0xf3);
}

static bool rm_counts(const struct oracle_form *form)
{
    return (form->map == MAP_ONE && form->opcode >= 0xd8 && form->opcode <= 0xdf) ||
           (form->map == MAP_0F && form->opcode == 0x01);
}

static bool has_modrm(const struct oracle_form *form)
{
    return form->map >= MAP_VEX || opcode_table[form->map][form->opcode].attributes & (A_MODRM | A_GROUP);
}

static bool is_escape(const struct oracle_form *form)
{
    static const uint8_t prefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x0f};
    if (form->map == MAP_ONE)
        return memchr(prefixes, form->opcode, sizeof prefixes) ||
               (form->mode == ORACLE_64 && ((form->opcode & 0xf0) == 0x40 || form->opcode == 0xc4 ||
                                            form->opcode == 0xc5));
    return form->map == MAP_0F && (form->opcode == 0x38 || form->opcode == 0x3a);
}

static bool add_operands(struct oracle_form form)
{
    if ((form.opcode == 0xc4 || form.opcode == 0xc5) && form.map == MAP_ONE) { /* with a register operand: VEX */
        form.reg = form.rm = 0xff;
        form.operand = 2;
        return add(&form);
    }
    form.reg = form.rm = 0xff;
    if (!has_modrm(&form))
        return add(&form);
    unsigned regs = reg_counts(&form) ? 8 : 1;
    bool good = true;
    for (unsigned reg = 0; reg < regs; reg++) {
        form.reg = regs == 8 ? reg : 0xff;
        form.operand = 2;
        form.rm = 0xff;
        good = good && add(&form);
        form.operand = 1;
        for (unsigned rm = 0; rm < (rm_counts(&form) ? 8u : 1u); rm++) {
            form.rm = rm_counts(&form) ? rm : 0xff;
            good = good && add(&form);
        }
    }
    return good;
}

static bool add_opcode(unsigned mode, unsigned map, unsigned opcode)
{
    struct oracle_form form = {.mode = mode, .map = map, .opcode = opcode};
    bool vex = map >= MAP_VEX, good = true;
    opcode_begins = form_count;
    if (is_escape(&form))
        return true;
    for (form.prefix = 0; form.prefix < 4; form.prefix++)
        for (form.w = 0; form.w < (vex || mode == ORACLE_64 ? 2 : 1); form.w++)
            for (form.l = 0; form.l < (vex ? 2 : 1); form.l++)
                good = good && add_operands(form);
    return good;
}

bool forms_start(void)
{
    bool good = true;
    for (unsigned mode = 0; mode < 3; mode++)
        for (unsigned map = 0; map < MAPS; map++)
            for (unsigned opcode = 0; opcode < 256; opcode++)
                good = good && add_opcode(mode, map, opcode);
    free(decoded);
    return good;
}
