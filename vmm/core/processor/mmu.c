/* Paging (SDM vol. 3, chapter 4), EPT (29.3), the software TLB and the slow path of every memory access. */
#include "mmu.h"

#include "arena.h"
#include "breakpoint.h"
#include "events.h"
#include "trace.h"
#include "vmx_state.h"

#include <string.h>

/* ---- what an access is and what a translation allows ---- */

/* The first three are also error-code bits. */
enum access {
    ACCESS_READ = 0,
    ACCESS_WRITE = PF_WRITE,
    ACCESS_FETCH = PF_FETCH,
    ACCESS_SYSTEM = 32, /* implicit supervisor access to a system table (4.6.1) */
    ACCESS_WIDE = 64    /* in IA-32e mode by a 64-bit address, whatever the code that runs still is */
};

/* Paging-structure entries (SDM vol. 3, 4.5.4). */
#define ENTRY_P (1ull << 0)
#define ENTRY_W (1ull << 1)
#define ENTRY_U (1ull << 2)
#define ENTRY_A (1ull << 5)
#define ENTRY_D (1ull << 6)
#define ENTRY_PS (1ull << 7)
#define ENTRY_G (1ull << 8)
#define ENTRY_NX (1ull << 63)
#define ADDRESS_MASK 0x000ffffffffff000ull

enum rights {
    RIGHT_WRITE = 1 << 1, /* where the entries have them */
    RIGHT_USER = 1 << 2,
    RIGHT_DIRTY = 1 << 6,
    RIGHT_GLOBAL = 1 << 8,
    RIGHT_FETCH = 1 << 9,
    RIGHT_EPT_WRITE = 1 << 10,
    RIGHT_LARGE = 1 << 11, /* 2-MiB page */
    RIGHT_HUGE = 1 << 12   /* 4-MiB or 1-GiB page */
};
#define RIGHT_KEY_SHIFT 16 /* of a user page's protection key, 4 bits; 0 while there are none */

struct mapping {
    uint64_t pa; /* host-physical */
    uint32_t rights;
};

/* Every entry takes the slow path: for emulators and while operands are watched or checked for alignment. */
static const struct tlb_entry no_tlb[TLB_SIZE] = {[0 ... TLB_SIZE - 1] = {TLB_INVALID, TLB_INVALID, 0, 0}};

static bool has_keys(const struct processor *cpu)
{
    return cpu->s.cr4 & CR4_PKE && long_mode(cpu);
}

/* Does PKRU forbid the access (4.6.2)? */
static bool key_forbids(const struct processor *cpu, uint32_t access, uint32_t rights)
{
    if (likely(!has_keys(cpu)) || access & ACCESS_FETCH || !(rights & RIGHT_USER))
        return false;
    uint32_t bits = cpu->s.registers.pkru >> (rights >> RIGHT_KEY_SHIFT & 15) * 2;
    bool user = cpu->s.cpl == 3 && !(access & ACCESS_SYSTEM);
    return bits & 1 || (bits & 2 && access & ACCESS_WRITE && (user || cpu->s.cr0 & CR0_WP));
}

static bool permitted(const struct processor *cpu, uint32_t access, uint32_t rights)
{
    bool system = access & ACCESS_SYSTEM;
    if (!(cpu->s.cr0 & CR0_PG))
        return true;
    if (access & ACCESS_FETCH && !(rights & RIGHT_FETCH))
        return false;
    if (unlikely(key_forbids(cpu, access, rights)))
        return false;
    if (cpu->s.cpl == 3 && !system)
        return rights & RIGHT_USER && (rights & RIGHT_WRITE || !(access & ACCESS_WRITE));
    if (rights & RIGHT_USER) {
        if (access & ACCESS_FETCH) {
            if (cpu->s.cr4 & CR4_SMEP)
                return false;
        } else if (cpu->s.cr4 & CR4_SMAP && (system || !(cpu->s.system_flags & RFLAGS_AC))) {
            return false;
        }
    }
    return rights & RIGHT_WRITE || !(access & ACCESS_WRITE) || !(cpu->s.cr0 & CR0_WP);
}

static _Noreturn void page_fault(struct processor *cpu, const struct op *op, uint64_t linear, uint32_t access,
                                 uint32_t why)
{
    uint32_t error = (access & PF_WRITE) | why;
    if (cpu->s.cpl == 3 && !(access & ACCESS_SYSTEM))
        error |= PF_USER;
    if (access & ACCESS_FETCH &&
        (cpu->s.cr4 & CR4_SMEP || (cpu->s.cr4 & CR4_PAE && cpu->s.efer & EFER_NXE)))
        error |= PF_FETCH;
    raise_page_fault(cpu, op, linear, error);
}

/* ---- physical memory ---- */

static struct page *ram_page(const struct processor *cpu, uint64_t pa)
{
    return unlikely(cpu->emulating) ? NULL : arena_page(cpu->arena, pa);
}

static struct page *writable_page(const struct processor *cpu, uint64_t pa)
{
    struct page *page = ram_page(cpu, pa);
    return unlikely(page && page->access == ARENA_ROM) ? NULL : page;
}

const struct emulate_bus *find_bus(struct processor *cpu, const struct op *op)
{
    if (!cpu->bus && cpu->config.accel == ACCEL_BARE)
        leave_run(cpu, op, LEAVE_BUS);
    return cpu->bus;
}

/* The largest of 8, 4, 2, 1 that fits. */
static unsigned bus_piece(unsigned size)
{
    return size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
}

void physical_read(struct processor *cpu, const struct op *op, uint64_t pa, void *data, unsigned size)
{
    if (likely(ram_page(cpu, pa))) {
        memcpy(data, cpu->arena->memory + pa, size);
        return;
    }
    const struct emulate_bus *bus = find_bus(cpu, op);
    memset(data, 0xff, size);
    for (unsigned at = 0, piece; bus && at < size; at += piece) {
        piece = bus_piece(size - at);
        bus->read(bus->context, pa + at, (char *)data + at, piece);
    }
}

void physical_write(struct processor *cpu, const struct op *op, uint64_t pa, const void *data, unsigned size)
{
    struct page *page = writable_page(cpu, pa);
    if (likely(page)) {
        uint8_t *at = cpu->arena->memory + pa;
        if (!memcmp(at, data, size)) /* as loaders patch one instruction again and again */
            return;
        memcpy(at, data, size);
        page_written(cpu->arena, page, pa, size);
        return;
    }
    const struct emulate_bus *bus = find_bus(cpu, op);
    for (unsigned at = 0, piece; bus && at < size; at += piece) {
        piece = bus_piece(size - at);
        bus->write(bus->context, pa + at, (const char *)data + at, piece);
    }
}

/* ---- EPT ---- */

static uint64_t ept_walk(struct processor *cpu, const struct op *op, uint64_t gpa, uint32_t wanted, uint64_t linear,
                         uint64_t qualification, uint32_t *rights)
{
    uint64_t table = cpu->vmx->active.eptp & ADDRESS_MASK, entry;
    uint32_t allowed = EPT_READ | EPT_WRITE | EPT_FETCH;
    unsigned shift = 39;
    for (;; shift -= 9) {
        physical_read(cpu, op, table | (gpa >> shift & 511) << 3, &entry, sizeof entry);
        if (!(entry & 7)) {
            allowed = 0;
            break;
        }
        bool leaf = shift == 12 || (shift < 39 && entry & ENTRY_PS);
        unsigned type = entry >> 3 & 7;
        uint64_t reserved = reserved_address_bits(cpu);
        if (!leaf)
            reserved |= shift == 39 ? 0xf8 : 0x78;
        else if (shift > 12)
            reserved |= (1ull << shift) - 0x1000;
        if ((entry & 3) == EPT_WRITE || (!VMX_EPT_EXECUTE_ONLY && (entry & 7) == EPT_FETCH) || entry & reserved ||
            (leaf && (type == 2 || type == 3 || type == 7)))
            vmx_exit_ept_misconfiguration(cpu, op, gpa);
        allowed &= entry;
        if (leaf)
            break;
        table = entry & ADDRESS_MASK;
    }
    if (wanted & ~allowed)
        vmx_exit_ept_violation(cpu, op, qualification | wanted | allowed << 3, gpa, linear);
    *rights = allowed;
    uint64_t low = (1ull << shift) - 1;
    return (entry & ADDRESS_MASK & ~low) | (gpa & low);
}

/* The host-physical address of `gpa`, which is accessed as `wanted` says (EPT_READ | EPT_WRITE | EPT_FETCH) on behalf
 * of `linear`; `rights` becomes all that EPT allows there. */
static uint64_t guest_physical(struct processor *cpu, const struct op *op, uint64_t gpa, uint32_t wanted,
                               uint64_t linear, uint64_t qualification, uint32_t *rights)
{
    uint64_t eptp = cpu->vmx->active.eptp;
    *rights = EPT_READ | EPT_WRITE | EPT_FETCH;
    if (!eptp)
        return gpa & ~cpu->s.a20m;
    struct ept_entry *cached = &cpu->ept[gpa >> 12 & (EPT_TLB_SIZE - 1)];
    if (unlikely(cached->gpa != gpa >> 12 || cached->eptp != eptp || cached->stamp != cpu->ept_stamp ||
                 wanted & ~cached->hpa)) {
        uint64_t hpa = ept_walk(cpu, op, gpa, wanted, linear, qualification, rights);
        *cached = (struct ept_entry){gpa >> 12, eptp, cpu->ept_stamp, (hpa & ~0xfffull) | *rights};
    }
    *rights = cached->hpa & 7;
    return (cached->hpa & ~0xfffull) | (gpa & 0xfff);
}

/* ---- the walk ---- */

static uint64_t entry_read(struct processor *cpu, const struct op *op, uint64_t gpa, unsigned size, uint64_t linear)
{
    uint32_t rights;
    uint64_t entry = 0;
    gpa = guest_physical(cpu, op, gpa, EPT_READ, linear, EPT_LINEAR_VALID, &rights);
    physical_read(cpu, op, gpa, &entry, size);
    return entry;
}

static void entry_write(struct processor *cpu, const struct op *op, uint64_t gpa, uint64_t entry, unsigned size,
                        uint64_t linear)
{
    uint32_t rights;
    gpa = guest_physical(cpu, op, gpa, EPT_READ | EPT_WRITE, linear, EPT_LINEAR_VALID, &rights);
    physical_write(cpu, op, gpa, &entry, size);
}

/* The entries that a walk used, for their accessed and dirty flags. */
struct walk {
    uint64_t at[5], entry[5];
    unsigned count, size;
    uint64_t gpa; /* of the byte */
    uint32_t rights;
    uint32_t why;        /* PF_PRESENT | PF_RESERVED of a walk that failed */
    uint64_t table;      /* of the last level, when that was a page table */
    uint32_t above;      /* rights of the levels above it */
};

static bool walk_failed(struct walk *walk, uint32_t why)
{
    walk->why = why;
    return false;
}

/* PAE, 4-level and 5-level paging (4.4 and 4.5), from `table`, whose entries translate bits `shift` + 8 and down. */
static bool walk_wide(struct processor *cpu, const struct op *op, uint64_t linear, uint64_t table, unsigned shift,
                      struct walk *walk)
{
    uint64_t reserved_always = reserved_address_bits(cpu);
    if (!(cpu->s.efer & EFER_NXE))
        reserved_always |= ENTRY_NX;
    if (!long_mode(cpu))
        reserved_always |= 0x7ffull << 52;
    walk->size = 8;
    for (;; shift -= 9) {
        uint64_t at = table | (linear >> shift & 511) << 3;
        uint64_t entry = entry_read(cpu, op, at, 8, linear);
        if (!(entry & ENTRY_P))
            return walk_failed(walk, 0);
        bool leaf = shift == 12 || entry & ENTRY_PS;
        uint64_t reserved = reserved_always;
        if (shift > 12 && leaf) {
            reserved |= (1ull << shift) - 0x2000; /* bit 12 is PAT */
            if (shift >= 39 || (shift == 30 && !has_feature(cpu, FEATURE_PAGE1GB)))
                reserved |= ENTRY_PS;
        }
        if (entry & reserved)
            return walk_failed(walk, PF_PRESENT | PF_RESERVED);
        if (shift == 12) {
            walk->table = table;
            walk->above = walk->rights;
        }
        walk->rights &= (uint32_t)(entry & (ENTRY_W | ENTRY_U)) | (entry & ENTRY_NX ? 0 : RIGHT_FETCH);
        walk->at[walk->count] = at;
        walk->entry[walk->count++] = entry;
        if (leaf) {
            uint64_t low = (1ull << shift) - 1;
            if (has_keys(cpu))
                walk->rights |= (entry >> 59 & 15) << RIGHT_KEY_SHIFT;
            walk->rights |= (entry & (ENTRY_D | ENTRY_G)) | (shift == 21 ? RIGHT_LARGE : shift == 30 ? RIGHT_HUGE : 0);
            walk->gpa = (entry & ADDRESS_MASK & ~low) | (linear & low);
            return true;
        }
        table = entry & ADDRESS_MASK;
    }
}

/* 32-bit paging (4.3), with PSE-36. */
static bool walk_narrow(struct processor *cpu, const struct op *op, uint64_t linear, struct walk *walk)
{
    walk->size = 4;
    uint64_t table = cpu->s.cr3 & 0xfffff000;
    for (unsigned shift = 22;; shift -= 10) {
        uint64_t at = table | (linear >> shift & 1023) << 2;
        uint64_t entry = entry_read(cpu, op, at, 4, linear);
        if (!(entry & ENTRY_P))
            return walk_failed(walk, 0);
        bool large = shift == 22 && entry & ENTRY_PS && cpu->s.cr4 & CR4_PSE;
        uint64_t frame = large ? (entry & 0xffc00000) | (entry & 0x1fe000) << 19 : entry & 0xfffff000;
        if (large && (entry & 1 << 21 || frame & reserved_address_bits(cpu)))
            return walk_failed(walk, PF_PRESENT | PF_RESERVED);
        walk->rights &= (uint32_t)(entry & (ENTRY_W | ENTRY_U)) | RIGHT_FETCH;
        walk->at[walk->count] = at;
        walk->entry[walk->count++] = entry;
        if (large || shift == 12) {
            walk->rights |= (entry & (ENTRY_D | ENTRY_G)) | (large ? RIGHT_HUGE : 0);
            walk->gpa = frame | (linear & ((1u << shift) - 1));
            return true;
        }
        table = frame;
    }
}

static bool walk_all(struct processor *cpu, const struct op *op, uint64_t linear, struct walk *walk)
{
    walk->count = 0;
    walk->table = 0;
    walk->rights = RIGHT_WRITE | RIGHT_USER | RIGHT_FETCH;
    if (long_mode(cpu))
        return walk_wide(cpu, op, linear, cpu->s.cr3 & ADDRESS_MASK, cpu->s.cr4 & CR4_LA57 ? 48 : 39, walk);
    if (!(cpu->s.cr4 & CR4_PAE))
        return walk_narrow(cpu, op, linear, walk);
    uint64_t pdpte = cpu->s.pdpte[linear >> 30 & 3];
    return pdpte & ENTRY_P ? walk_wide(cpu, op, linear, pdpte & ADDRESS_MASK, 21, walk) : walk_failed(walk, 0);
}

/* Sets the accessed flags, and the dirty flag for a write (4.8). */
static void mark_used(struct processor *cpu, const struct op *op, uint64_t linear, uint32_t access, struct walk *walk)
{
    for (unsigned i = 0; i < walk->count; i++) {
        uint64_t flags = ENTRY_A;
        if (i == walk->count - 1 && access & ACCESS_WRITE) {
            flags |= ENTRY_D;
            walk->rights |= RIGHT_DIRTY;
        }
        if ((walk->entry[i] & flags) != flags)
            entry_write(cpu, op, walk->at[i], walk->entry[i] | flags, walk->size, linear);
    }
}

static uint32_t ept_wanted(uint32_t access)
{
    return access & ACCESS_WRITE ? EPT_WRITE : access & ACCESS_FETCH ? EPT_FETCH : EPT_READ;
}

/* Translates one byte, or raises what the access raises. */
static struct mapping translate(struct processor *cpu, const struct op *op, uint64_t linear, uint32_t access)
{
    struct walk walk = {.gpa = linear, .rights = RIGHT_WRITE | RIGHT_USER | RIGHT_FETCH | RIGHT_DIRTY};
    uint32_t ept;
    uint64_t pa;
    if (cpu->s.cr0 & CR0_PG) {
        struct walk_entry *cached = cpu->bank ? &cpu->bank->walk[linear >> 21 & (WALK_CACHE_SIZE - 1)] : NULL;
        bool good = false;
        if (cached && cached->region == linear >> 21 && cached->stamp == cpu->bank->walk_stamp) {
            walk.rights = cached->rights;
            good = walk_wide(cpu, op, linear, cached->table, 12, &walk) && permitted(cpu, access, walk.rights);
        }
        if (!good) { /* a fault is never due to a cached entry (4.10.4.1) */
            if (!walk_all(cpu, op, linear, &walk))
                page_fault(cpu, op, linear, access, walk.why);
            if (!permitted(cpu, access, walk.rights))
                page_fault(cpu, op, linear, access,
                           PF_PRESENT | (key_forbids(cpu, access, walk.rights) ? PF_KEY : 0));
        }
        pa = guest_physical(cpu, op, walk.gpa, ept_wanted(access), linear, EPT_LINEAR_VALID | EPT_TRANSLATED, &ept);
        mark_used(cpu, op, linear, access, &walk);
        if (cached && !good && walk.table)
            *cached = (struct walk_entry){linear >> 21, cpu->bank->walk_stamp, walk.table, walk.above};
    } else {
        pa = guest_physical(cpu, op, walk.gpa, ept_wanted(access), linear, EPT_LINEAR_VALID | EPT_TRANSLATED, &ept);
    }
    if (!(cpu->s.cr4 & CR4_PGE))
        walk.rights &= ~RIGHT_GLOBAL;
    return (struct mapping){pa, walk.rights | (ept & EPT_WRITE ? RIGHT_EPT_WRITE : 0)};
}

/* ---- the TLB ---- */

/* Entries are of 4 KiB each; INVLPG wants all that came from one large page. */
static void note_size(struct tlb_bank *bank, uint64_t linear, uint32_t rights)
{
    if (rights & RIGHT_LARGE)
        bank->large |= 1ull << (linear >> 21 & 63);
    if (rights & RIGHT_HUGE)
        bank->huge |= 1ull << (linear >> 30 & 63);
}

/* `tlb` is cpu->tlb, or the supervisor's array for system accesses. */
static void fill(struct processor *cpu, struct tlb_entry *tlb, uint64_t linear, uint32_t access,
                 const struct mapping *mapping, struct page *page)
{
    if (!cpu->bank || tlb == no_tlb)
        return;
    uint64_t tag = linear & ~0xfffull, pa = mapping->pa & ~0xfffull;
    uint32_t system = access & ACCESS_SYSTEM;
    unsigned index = linear >> 12 & (TLB_SIZE - 1), class = (unsigned)(tlb - cpu->bank->entry[0]) / TLB_SIZE;
    bool write = mapping->rights & RIGHT_DIRTY && mapping->rights & RIGHT_EPT_WRITE && page->access == ARENA_RAM &&
                 permitted(cpu, ACCESS_WRITE | system, mapping->rights);
    tlb[index] = (struct tlb_entry){
        .read = permitted(cpu, ACCESS_READ | system, mapping->rights) ? tag : TLB_INVALID,
        .write = !write ? TLB_INVALID : page->code ? tag | TLB_CODE : tag,
        .addend = (uint64_t)(uintptr_t)cpu->arena->memory + pa - tag,
        .pa = pa | !!(mapping->rights & RIGHT_GLOBAL),
    };
    page->write_mapped |= write && !page->code;
    note_size(cpu->bank, linear, mapping->rights);
    cpu->bank->filled[class] |= 1ull << index / (TLB_SIZE / 64);
}

static void clear_entries(struct tlb_bank *bank, bool global_too)
{
    for (unsigned class = 0; class < TLB_CLASSES; class++) {
        uint64_t kept = 0;
        for (uint64_t groups = bank->filled[class]; groups; groups &= groups - 1) {
            unsigned group = __builtin_ctzll(groups);
            struct tlb_entry *entry = &bank->entry[class][group * (TLB_SIZE / 64)];
            for (unsigned i = 0; i < TLB_SIZE / 64; i++) {
                bool keep = !global_too && entry[i].pa & 1 && !(entry[i].read & entry[i].write & TLB_INVALID);
                kept |= (uint64_t)keep << group;
                if (!keep)
                    entry[i] = (struct tlb_entry){TLB_INVALID, TLB_INVALID, 0, 0};
            }
        }
        bank->filled[class] = kept;
    }
    for (unsigned i = 0; i < FETCH_TLB_SIZE; i++)
        if (global_too || !(bank->fetch[i].pa & 1))
            bank->fetch[i].tag = TLB_INVALID;
    if (global_too)
        bank->large = bank->huge = 0;
}

/* ---- what the jump cache may keep ---- */

static void set_jump_tag(struct processor *cpu)
{
    const struct tlb_bank *bank = cpu->bank;
    uint64_t generation = cpu->s.cpl == 3             ? bank->generation
                          : bank->supervisor_generation ? bank->supervisor_generation
                                                        : cpu->global_generation;
    uint64_t tag = breakpoints_armed(cpu, BREAK_FETCH) ? JUMP_NEVER : generation << 16 | cpu->mode;
    bool by_rip = cpu->mode & (MODE_CODE64 | MODE_FLAT);
    cpu->jump_tag = by_rip ? tag : JUMP_NEVER;
    cpu->linear_tag = by_rip ? JUMP_NEVER : tag;
}

static uint64_t new_generation(struct processor *cpu, struct fetched *fetched)
{
    *fetched = (struct fetched){0};
    return ++cpu->generation;
}

static uint64_t *fetched_word(struct fetched *fetched, uint64_t linear, uint64_t *bit)
{
    unsigned hash = (linear >> 12 ^ linear >> 22) % FETCHED_BITS;
    *bit = 1ull << hash % 64;
    return &fetched->bits[hash / 64];
}

static bool was_fetched(struct fetched *fetched, uint64_t linear)
{
    uint64_t bit;
    return *fetched_word(fetched, linear, &bit) & bit;
}

/* Code is about to be entered into the jump cache. */
static void note_fetch(struct processor *cpu, uint64_t linear, bool global)
{
    struct tlb_bank *bank = cpu->bank;
    struct fetched *fetched = &bank->fetched[cpu->s.cpl == 3];
    uint64_t bit;
    if (cpu->s.cpl != 3 && !bank->supervisor_generation) {
        if (likely(global)) {
            fetched = &cpu->global_fetched;
        } else {
            bank->supervisor_generation = new_generation(cpu, fetched);
            set_jump_tag(cpu);
        }
    }
    *fetched_word(fetched, linear, &bit) |= bit;
}

/* After all entries of the bank but the global ones were taken away: what was derived from them goes too. */
static void renew(struct processor *cpu, struct tlb_bank *bank)
{
    bank->generation = new_generation(cpu, &bank->fetched[1]);
    bank->supervisor_generation = 0;
    bank->walk_stamp = ++cpu->generation;
    if (bank == cpu->bank)
        set_jump_tag(cpu);
}

static void renew_global(struct processor *cpu)
{
    cpu->global_generation = new_generation(cpu, &cpu->global_fetched);
    if (cpu->bank)
        set_jump_tag(cpu);
}

/* After the entries of one page were taken away. */
static void renew_page(struct processor *cpu, struct tlb_bank *bank, uint64_t linear)
{
    bank->walk_stamp = ++cpu->generation;
    if (was_fetched(&bank->fetched[1], linear))
        bank->generation = new_generation(cpu, &bank->fetched[1]);
    if (bank->supervisor_generation && was_fetched(&bank->fetched[0], linear))
        bank->supervisor_generation = new_generation(cpu, &bank->fetched[0]);
    if (bank == cpu->bank)
        set_jump_tag(cpu);
}

/* ---- banks ---- */

/* Parts of a bank's key[0]: entries are filled by what PKRU permits. */
#define KEY_PCID 0xfffull
#define KEY_PKRU_SHIFT 32

static struct tlb_bank *find_bank(struct processor *cpu, const uint64_t key[4])
{
    struct tlb_bank *oldest = cpu->banks;
    for (unsigned i = 0; i < TLB_BANKS; i++) {
        struct tlb_bank *bank = &cpu->banks[i];
        if (bank->used && !memcmp(bank->key, key, sizeof bank->key))
            return bank;
        if (bank->used < oldest->used)
            oldest = bank;
    }
    if (!oldest->generation) /* never used: not even invalid */
        memset(oldest->filled, 0xff, sizeof oldest->filled);
    memcpy(oldest->key, key, sizeof oldest->key);
    clear_entries(oldest, true);
    renew(cpu, oldest);
    return oldest;
}

/* Are operands to be looked at one by one: for alignment (CR0.AM) or for a data breakpoint (DR7)? */
static bool operands_checked(const struct processor *cpu)
{
    return (cpu->s.cr0 & CR0_AM && cpu->s.system_flags & RFLAGS_AC && cpu->s.cpl == 3) ||
           breakpoints_armed(cpu, BREAK_WRITE) || breakpoints_armed(cpu, BREAK_ACCESS);
}

void mmu_select(struct processor *cpu)
{
    if (unlikely(!cpu->banks || cpu->emulating)) {
        cpu->tlb = (struct tlb_entry *)no_tlb; /* never written */
        cpu->bank = NULL;
        cpu->jump_tag = cpu->linear_tag = JUMP_NEVER;
        return;
    }
    const uint64_t cr4_bits = CR4_PSE | CR4_PAE | CR4_LA57 | CR4_SMEP | CR4_SMAP | CR4_PCIDE | CR4_PKE;
    uint64_t key[4] = {0, 0, cpu->vmx->active.eptp, cpu->vmx->active.vpid};
    if (cpu->s.cr0 & CR0_PG) {
        key[0] = cpu->s.cr4 & CR4_PCIDE ? cpu->s.cr3 & 0xfff : 0;
        key[1] = (cpu->s.cr0 & (CR0_PG | CR0_WP)) | (cpu->s.cr4 & cr4_bits);
        key[1] |= (cpu->s.efer & (EFER_LMA | EFER_NXE)) << 32;
        if (unlikely(has_keys(cpu)))
            key[0] |= cpu->s.registers.pkru << KEY_PKRU_SHIFT;
    }
    struct tlb_bank *bank = cpu->bank;
    if (unlikely(!bank || !bank->used || ((bank->key[0] ^ key[0]) | (bank->key[1] ^ key[1]) | (bank->key[2] ^ key[2]) |
                                          (bank->key[3] ^ key[3])))) {
        bank = find_bank(cpu, key);
        bank->used = ++cpu->generation;
        cpu->bank = bank;
        key[1] &= ~(CR0_WP | CR4_SMAP); /* no matter to fetches */
        if (memcmp(cpu->global_key, key + 1, sizeof cpu->global_key)) {
            memcpy(cpu->global_key, key + 1, sizeof cpu->global_key);
            renew_global(cpu);
        }
    }
    unsigned class = cpu->s.cpl == 3 ? TLB_USER
                     : cpu->s.cr4 & CR4_SMAP && cpu->s.system_flags & RFLAGS_AC ? TLB_SUPERVISOR_AC
                                                                              : TLB_SUPERVISOR;
    cpu->tlb = unlikely(operands_checked(cpu)) ? (struct tlb_entry *)no_tlb : bank->entry[class];
    set_jump_tag(cpu);
}

/* ---- invalidation (4.10.4) ---- */

void mmu_invalidate_page(struct processor *cpu, uint64_t linear)
{
    uint64_t tag = linear & ~0xfffull;
    unsigned index = linear >> 12 & (TLB_SIZE - 1);
    bool global = was_fetched(&cpu->global_fetched, linear);
    for (unsigned i = 0; cpu->banks && i < TLB_BANKS; i++) {
        struct tlb_bank *bank = &cpu->banks[i];
        if (!bank->used)
            continue;
        if (unlikely((bank->large >> (linear >> 21 & 63) | bank->huge >> (linear >> 30 & 63)) & 1)) {
            clear_entries(bank, true);
            renew(cpu, bank);
            global = true;
            continue;
        }
        for (unsigned class = 0; class < TLB_CLASSES; class++) {
            struct tlb_entry *entry = &bank->entry[class][index];
            if (entry->read == tag || (entry->write & ~TLB_CODE) == tag)
                entry->read = entry->write = TLB_INVALID;
        }
        bank->fetch[linear >> 12 & (FETCH_TLB_SIZE - 1)].tag = TLB_INVALID;
        renew_page(cpu, bank, linear);
    }
    if (global)
        renew_global(cpu);
}

/* The banks of the current VPID and, unless `any`, of one PCID. */
static void flush_banks(struct processor *cpu, bool any, uint64_t pcid, bool global_too)
{
    uint64_t vpid = cpu->vmx->active.vpid;
    for (unsigned i = 0; cpu->banks && i < TLB_BANKS; i++) {
        struct tlb_bank *bank = &cpu->banks[i];
        if (!bank->used || bank->key[3] != vpid || !(any || (bank->key[0] & KEY_PCID) == pcid))
            continue;
        if (global_too && bank != cpu->bank) {
            bank->used = 0; /* cleared when it is taken */
            continue;
        }
        clear_entries(bank, global_too);
        renew(cpu, bank);
    }
    if (global_too)
        renew_global(cpu);
}

void mmu_flush(struct processor *cpu, bool global_too)
{
    flush_banks(cpu, global_too, cpu->s.cr4 & CR4_PCIDE ? cpu->s.cr3 & 0xfff : 0, global_too);
}

void mmu_flush_bank(struct processor *cpu, uint64_t pcid_or_any, bool global_too)
{
    flush_banks(cpu, pcid_or_any == ~0ull, pcid_or_any, global_too);
}

void mmu_init(struct processor *cpu)
{
    mmu_flush_all(cpu);
}

void mmu_flush_all(struct processor *cpu)
{
    for (unsigned i = 0; cpu->banks && i < TLB_BANKS; i++)
        cpu->banks[i].used = 0;
    cpu->bank = NULL;
    cpu->ept_stamp = ++cpu->generation;
    renew_global(cpu);
    mmu_select(cpu);
}

void mmu_forbid_writes(struct processor *cpu, uint64_t pa)
{
    pa &= ~0xfffull;
    for (unsigned i = 0; cpu->banks && i < TLB_BANKS; i++) {
        struct tlb_bank *bank = &cpu->banks[i];
        if (!bank->used)
            continue;
        for (unsigned class = 0; class < TLB_CLASSES; class++) {
            for (uint64_t groups = bank->filled[class]; groups; groups &= groups - 1) {
                struct tlb_entry *entry = &bank->entry[class][__builtin_ctzll(groups) * (TLB_SIZE / 64)];
                for (unsigned k = 0; k < TLB_SIZE / 64; k++)
                    if ((entry[k].pa & ~0xfffull) == pa && entry[k].write != TLB_INVALID)
                        entry[k].write |= TLB_CODE;
            }
        }
    }
}

void mmu_load_pdpte(struct processor *cpu, const struct op *op, uint64_t cr3)
{
    uint64_t pdpte[4], reserved = reserved_address_bits(cpu) | 0xfffull << 52 | 0x1e6;
    for (unsigned i = 0; i < 4; i++) {
        uint32_t rights;
        uint64_t at = (cr3 & 0xffffffe0) + i * 8;
        at = guest_physical(cpu, op, at, EPT_READ, 0, 0, &rights);
        physical_read(cpu, op, at, &pdpte[i], 8);
        if (pdpte[i] & ENTRY_P && pdpte[i] & reserved)
            raise_gp(cpu, op, 0);
    }
    memcpy(cpu->s.pdpte, pdpte, sizeof pdpte);
}

/* ---- operands ---- */

/* A data breakpoint traps after the instruction (SDM vol. 3, 18.2.4): one in a trace starts again on its own, as nothing
 * of it has happened yet. */
static void check_breakpoints(struct processor *cpu, const struct op *op, uint64_t linear, unsigned size,
                              uint32_t access)
{
    uint64_t met = breakpoints_met(cpu, BREAK_ACCESS, linear, size);
    if (access & ACCESS_WRITE)
        met |= breakpoints_met(cpu, BREAK_WRITE, linear, size);
    if (!met)
        return;
    if (op && !cpu->emulating && !trace_is_alone(cpu, op)) {
        cpu->alone = true;
        leave_run(cpu, op, LEAVE_NONE);
    }
    cpu->s.pending_debug |= met | PENDING_BREAKPOINT;
}

void mmu_demand_alignment(struct processor *cpu, const struct op *op, uint64_t linear, unsigned alignment)
{
    if (unlikely(cpu->s.cr0 & CR0_AM && cpu->s.system_flags & RFLAGS_AC && cpu->s.cpl == 3 && linear & (alignment - 1)))
        raise_fault(cpu, op, VECTOR_AC, 0);
}

/* What operands are aligned to (SDM vol. 3, table 6-7); bigger ones are none of #AC's business. */
static unsigned natural_alignment(unsigned size)
{
    return size == 2 || size == 4 || size == 8 ? size : size == 10 ? 8 : 1;
}

/* #AC and data breakpoints. */
static void check_operand(struct processor *cpu, const struct op *op, uint64_t linear, unsigned size, uint32_t access)
{
    mmu_demand_alignment(cpu, op, linear, natural_alignment(size));
    if (breakpoints_armed(cpu, BREAK_WRITE) || breakpoints_armed(cpu, BREAK_ACCESS))
        check_breakpoints(cpu, op, linear, size, access);
}

/* Are linear addresses 64 bits wide (and must be canonical), or 32? */
static bool is_wide(const struct processor *cpu, uint32_t access)
{
    return access & (ACCESS_SYSTEM | ACCESS_WIDE) ? long_mode(cpu) : code64(cpu);
}

static _Noreturn void address_fault(struct processor *cpu, const struct op *op, unsigned seg)
{
    raise_fault(cpu, op, seg == SS ? VECTOR_SS : VECTOR_GP, external_event(cpu));
}

/* Translates a whole operand and leaves its pieces in cpu->pieces, after all of its faults. Returns the host address
 * when the operand is one piece of RAM and, for writing, holds no code; else NULL. */
static uint8_t *find_operand(struct processor *cpu, const struct op *op, uint64_t linear, unsigned size, unsigned seg,
                             uint32_t access)
{
    struct tlb_entry *tlb = cpu->tlb;
    if (access & ACCESS_SYSTEM && cpu->bank)
        tlb = cpu->bank->entry[TLB_SUPERVISOR];
    uint64_t last = linear + size - 1;
    if (!is_wide(cpu, access)) {
        linear = (uint32_t)linear;
        last = (uint32_t)last;
    }
    if (unlikely(!canonical(cpu, linear) || !canonical(cpu, last)))
        address_fault(cpu, op, seg);

    struct mapping first = translate(cpu, op, linear, access);
    cpu->pieces.pa[0] = first.pa;
    cpu->pieces.size[0] = size;
    cpu->pieces.size[1] = 0;
    if (unlikely((linear ^ last) & ~0xfffull)) {
        cpu->pieces.size[0] = 0x1000 - (linear & 0xfff);
        cpu->pieces.size[1] = size - cpu->pieces.size[0];
        cpu->pieces.pa[1] = translate(cpu, op, last & ~0xfffull, access).pa;
    }
    if (unlikely(tlb == no_tlb) && !(access & ACCESS_SYSTEM))
        check_operand(cpu, op, linear, size, access);
    struct page *page = ram_page(cpu, first.pa);
    if (unlikely(!page))
        return NULL;
    fill(cpu, tlb, linear, access, &first, page);
    if (unlikely(cpu->pieces.size[1] || (access & ACCESS_WRITE && (page->code || page->access == ARENA_ROM))))
        return NULL;
    return cpu->arena->memory + first.pa;
}

static void read_pieces(struct processor *cpu, const struct op *op)
{
    physical_read(cpu, op, cpu->pieces.pa[0], cpu->bounce, cpu->pieces.size[0]);
    if (cpu->pieces.size[1])
        physical_read(cpu, op, cpu->pieces.pa[1], cpu->bounce + cpu->pieces.size[0], cpu->pieces.size[1]);
}

/* A device's piece needs a bus before anything of the operand changes. */
static void write_pieces(struct processor *cpu, const struct op *op, const void *data)
{
    if (cpu->pieces.size[1] && !writable_page(cpu, cpu->pieces.pa[1]))
        find_bus(cpu, op);
    physical_write(cpu, op, cpu->pieces.pa[0], data, cpu->pieces.size[0]);
    if (cpu->pieces.size[1])
        physical_write(cpu, op, cpu->pieces.pa[1], (const char *)data + cpu->pieces.size[0], cpu->pieces.size[1]);
}

const void *mmu_read(struct processor *cpu, const struct op *op, uint64_t linear, unsigned size, unsigned seg)
{
    const uint8_t *host = find_operand(cpu, op, linear, size, seg, ACCESS_READ);
    if (likely(host))
        return host;
    read_pieces(cpu, op);
    return cpu->bounce;
}

/* Where an operand can be written that lies beside the decoded code of its page; NULL: find_operand knows. */
static uint8_t *beside_code(struct processor *cpu, uint64_t linear, unsigned size)
{
    const struct tlb_entry *entry = tlb_entry(cpu, linear);
    if ((((linear + size - 1) & ~0xfffull) | TLB_CODE) != entry->write)
        return NULL;
    uint64_t pa = (entry->pa & ~0xfffull) | (linear & 0xfff);
    struct page *page = &cpu->arena->pages[pa >> PAGE_BITS];
    if (!page->code || page->misses + 1 >= MOST_MISSES || arena_is_code(cpu->arena, pa, size))
        return NULL;
    page->misses++;
    return cpu->arena->memory + pa;
}

static inline __attribute__((always_inline)) void write_operand(struct processor *cpu, const struct op *op,
                                                                uint64_t linear, const void *data, unsigned size,
                                                                unsigned seg, uint32_t access)
{
    uint8_t *host = access & ACCESS_SYSTEM ? NULL : beside_code(cpu, linear, size);
    if (!host)
        host = find_operand(cpu, op, linear, size, seg, access);
    if (likely(host))
        memcpy(host, data, size);
    else
        write_pieces(cpu, op, data);
}

void mmu_write(struct processor *cpu, const struct op *op, uint64_t linear, const void *data, unsigned size,
               unsigned seg)
{
    write_operand(cpu, op, linear, data, size, seg, ACCESS_WRITE);
}

#define WRITE(bits)                                                                                                    \
    void mmu_write##bits(struct processor *cpu, const struct op *op, uint64_t linear, uint##bits##_t value,            \
                         unsigned seg)                                                                                 \
    {                                                                                                                  \
        write_operand(cpu, op, linear, &value, bits / 8, seg, ACCESS_WRITE);                                           \
    }
WRITE(8)
WRITE(16)
WRITE(32)
WRITE(64)
#undef WRITE

void *mmu_modify(struct processor *cpu, const struct op *op, uint64_t linear, unsigned size, unsigned seg)
{
    uint8_t *host = beside_code(cpu, linear, size);
    if (!host)
        host = find_operand(cpu, op, linear, size, seg, ACCESS_WRITE);
    if (likely(host))
        return host;
    if (!cpu->bus && cpu->pieces.size[1] && !writable_page(cpu, cpu->pieces.pa[1]))
        find_bus(cpu, op);
    read_pieces(cpu, op);
    return cpu->bounce;
}

void mmu_modify_end(struct processor *cpu, const struct op *op)
{
    write_pieces(cpu, op, cpu->bounce);
}

void mmu_probe(struct processor *cpu, const struct op *op, uint64_t linear, unsigned size, unsigned seg, bool write)
{
    find_operand(cpu, op, linear, size, seg, write ? ACCESS_WRITE : ACCESS_READ);
    for (unsigned i = 0; i < 2 && cpu->pieces.size[i]; i++)
        if (unlikely(!(write ? writable_page(cpu, cpu->pieces.pa[i]) : ram_page(cpu, cpu->pieces.pa[i]))))
            find_bus(cpu, op);
}

uint64_t mmu_monitor(struct processor *cpu, const struct op *op, uint64_t linear, unsigned seg)
{
    mmu_probe(cpu, op, linear, 1, seg, false);
    return cpu->pieces.pa[0];
}

void *mmu_run(struct processor *cpu, const struct op *op, uint64_t linear, uint64_t *size, unsigned seg, bool write)
{
    uint64_t rest = 0x1000 - (linear & 0xfff), tag = linear & ~0xfffull;
    const struct tlb_entry *entry = tlb_entry(cpu, linear);
    if (cpu->emulating || cpu->tlb == no_tlb || unlikely(rest < 8)) /* an element may cross the page */
        return NULL;
    if (rest < *size)
        *size = rest;
    if ((write ? entry->write : entry->read) == tag)
        return (void *)(linear + entry->addend);
    return find_operand(cpu, op, linear, 1, seg, write ? ACCESS_WRITE : ACCESS_READ);
}

/* ---- system accesses ---- */

/* The fast path of an implicit supervisor access: the supervisor's entry, whatever the privilege. */
static const struct tlb_entry *system_entry(const struct processor *cpu, uint64_t linear)
{
    return cpu->bank ? &cpu->bank->entry[TLB_SUPERVISOR][linear >> 12 & (TLB_SIZE - 1)] : no_tlb;
}

uint64_t mmu_system_read(struct processor *cpu, const struct op *op, uint64_t linear, unsigned size)
{
    uint64_t value = 0;
    const struct tlb_entry *entry = system_entry(cpu, linear);
    if (likely(((linear + size - 1) & ~0xfffull) == entry->read)) {
        memcpy(&value, (const void *)(linear + entry->addend), size);
        return value;
    }
    const uint8_t *host = find_operand(cpu, op, linear, size, DS, ACCESS_READ | ACCESS_SYSTEM);
    if (!host) {
        read_pieces(cpu, op);
        host = cpu->bounce;
    }
    memcpy(&value, host, size);
    return value;
}

static void system_write(struct processor *cpu, const struct op *op, uint64_t linear, uint64_t value, unsigned size,
                         unsigned seg)
{
    const struct tlb_entry *entry = system_entry(cpu, linear);
    if (likely(((linear + size - 1) & ~0xfffull) == entry->write))
        memcpy((void *)(linear + entry->addend), &value, size);
    else
        write_operand(cpu, op, linear, &value, size, seg, ACCESS_WRITE | ACCESS_SYSTEM);
}

void mmu_system_write(struct processor *cpu, const struct op *op, uint64_t linear, uint64_t value, unsigned size)
{
    system_write(cpu, op, linear, value, size, DS);
}

void mmu_stack_write(struct processor *cpu, const struct op *op, uint64_t linear, uint64_t value, unsigned size,
                     bool user)
{
    const struct tlb_entry *entry = tlb_entry(cpu, linear);
    if (user == (cpu->s.cpl == 3)) {
        if (likely(((linear + size - 1) & ~0xfffull) == entry->write))
            memcpy((void *)(linear + entry->addend), &value, size);
        else
            write_operand(cpu, op, linear, &value, size, SS, ACCESS_WRITE | ACCESS_WIDE);
    } else {
        system_write(cpu, op, linear, value, size, SS);
    }
}

/* ---- fetching ---- */

uint64_t mmu_fetch(struct processor *cpu, uint64_t linear)
{
    if (unlikely(!canonical(cpu, linear)))
        raise_gp(cpu, NULL, 0);
    struct tlb_bank *bank = cpu->bank;
    if (unlikely(!bank))
        return translate(cpu, NULL, linear, ACCESS_FETCH).pa;
    uint64_t tag = (linear & ~0xfffull) | (cpu->s.cpl == 3 ? 2 : 0);
    struct fetch_entry *entry = &bank->fetch[linear >> 12 & (FETCH_TLB_SIZE - 1)];
    if (unlikely(entry->tag != tag)) {
        struct mapping mapping = translate(cpu, NULL, linear, ACCESS_FETCH);
        *entry = (struct fetch_entry){tag, (mapping.pa & ~0xfffull) | !!(mapping.rights & RIGHT_GLOBAL)};
        note_size(bank, linear, mapping.rights);
    }
    note_fetch(cpu, linear, entry->pa & 1);
    return (entry->pa & ~0xfffull) | (linear & 0xfff);
}
