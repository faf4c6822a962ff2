/* The VEX-encoded vector instructions: X(form, map, mandatory prefix, opcode, VEX.W, mnemonic, bytes of the memory
 * operand with VEX.L 0 and 1, feature with VEX.L 0 and 1, attributes). avx.h says what forms and attributes are.
 * (SDM vol. 2, appendix A.) */

/* Shapes of which there are many: integers, floats that do not round, arithmetic by MXCSR (packed and scalar), FMA. */
#define INTEGER(X, map, opcode, name) X(RVM, map, P66, opcode, WIG, name, 16, 32, AVX, AVX2, 0)
#define BITS(X, opcode, name)                                                                                          \
    X(RVM, 0F, NP, opcode, WIG, name##ps, 16, 32, AVX, AVX, 0)                                                         \
    X(RVM, 0F, P66, opcode, WIG, name##pd, 16, 32, AVX, AVX, 0)
#define PACKED(X, opcode, name)                                                                                        \
    X(RVM, 0F, NP, opcode, WIG, name##ps, 16, 32, AVX, AVX, ARITHMETIC)                                                \
    X(RVM, 0F, P66, opcode, WIG, name##pd, 16, 32, AVX, AVX, ARITHMETIC)
#define SCALAR(X, opcode, name)                                                                                        \
    X(RVM, 0F, PF3, opcode, WIG, name##ss, 4, 0, AVX, AVX, ARITHMETIC | LIG)                                           \
    X(RVM, 0F, PF2, opcode, WIG, name##sd, 8, 0, AVX, AVX, ARITHMETIC | LIG)
#define EXTEND(X, opcode, name, m0, m1) X(RM, 0F38, P66, opcode, WIG, name, m0, m1, AVX, AVX2, 0)
#define FMA_PACKED(X, opcode, name)                                                                                    \
    X(RVM, 0F38, P66, opcode, W0, name##ps, 16, 32, FMA, FMA, ARITHMETIC)                                              \
    X(RVM, 0F38, P66, opcode, W1, name##pd, 16, 32, FMA, FMA, ARITHMETIC)
#define FMA_SCALAR(X, opcode, name)                                                                                    \
    X(RVM, 0F38, P66, opcode, W0, name##ss, 4, 0, FMA, FMA, ARITHMETIC | LIG)                                          \
    X(RVM, 0F38, P66, opcode, W1, name##sd, 8, 0, FMA, FMA, ARITHMETIC | LIG)
#define FMA_ORDER(X, high, order)                                                                                      \
    FMA_PACKED(X, high##6, vfmaddsub##order) FMA_PACKED(X, high##7, vfmsubadd##order)                                  \
    FMA_PACKED(X, high##8, vfmadd##order) FMA_SCALAR(X, high##9, vfmadd##order)                                        \
    FMA_PACKED(X, high##a, vfmsub##order) FMA_SCALAR(X, high##b, vfmsub##order)                                        \
    FMA_PACKED(X, high##c, vfnmadd##order) FMA_SCALAR(X, high##d, vfnmadd##order)                                      \
    FMA_PACKED(X, high##e, vfnmsub##order) FMA_SCALAR(X, high##f, vfnmsub##order)
#define BY_LANE_COUNT(X, opcode, name)                                                                                 \
    X(RVM, 0F38, P66, opcode, W0, name##d, 16, 32, AVX2, AVX2, 0)                                                      \
    X(RVM, 0F38, P66, opcode, W1, name##q, 16, 32, AVX2, AVX2, 0)

/* What computes, by a stub. */
#define AVX_STUB_ROWS(X)                                                                                               \
    X(RM, 0F, PF3, 0x12, WIG, vmovsldup, 16, 32, AVX, AVX, 0)                                                          \
    X(RM, 0F, PF2, 0x12, WIG, vmovddup, 8, 32, AVX, AVX, 0)                                                            \
    BITS(X, 0x14, vunpckl) BITS(X, 0x15, vunpckh)                                                                      \
    X(RM, 0F, PF3, 0x16, WIG, vmovshdup, 16, 32, AVX, AVX, 0)                                                          \
    X(FROM_GENERAL, 0F, PF3, 0x2a, W0, vcvtsi2ssl, 4, 0, AVX, AVX, ARITHMETIC | LIG)                                   \
    X(FROM_GENERAL, 0F, PF3, 0x2a, W1, vcvtsi2ssq, 8, 0, AVX, AVX, ARITHMETIC | LIG)                                   \
    X(FROM_GENERAL, 0F, PF2, 0x2a, W0, vcvtsi2sdl, 4, 0, AVX, AVX, ARITHMETIC | LIG)                                   \
    X(FROM_GENERAL, 0F, PF2, 0x2a, W1, vcvtsi2sdq, 8, 0, AVX, AVX, ARITHMETIC | LIG)                                   \
    X(TO_GENERAL, 0F, PF3, 0x2c, W0, vcvttss2sil, 4, 0, AVX, AVX, ARITHMETIC | LIG)                                    \
    X(TO_GENERAL, 0F, PF3, 0x2c, W1, vcvttss2siq, 4, 0, AVX, AVX, ARITHMETIC | LIG)                                    \
    X(TO_GENERAL, 0F, PF2, 0x2c, W0, vcvttsd2sil, 8, 0, AVX, AVX, ARITHMETIC | LIG)                                    \
    X(TO_GENERAL, 0F, PF2, 0x2c, W1, vcvttsd2siq, 8, 0, AVX, AVX, ARITHMETIC | LIG)                                    \
    X(TO_GENERAL, 0F, PF3, 0x2d, W0, vcvtss2sil, 4, 0, AVX, AVX, ARITHMETIC | LIG)                                     \
    X(TO_GENERAL, 0F, PF3, 0x2d, W1, vcvtss2siq, 4, 0, AVX, AVX, ARITHMETIC | LIG)                                     \
    X(TO_GENERAL, 0F, PF2, 0x2d, W0, vcvtsd2sil, 8, 0, AVX, AVX, ARITHMETIC | LIG)                                     \
    X(TO_GENERAL, 0F, PF2, 0x2d, W1, vcvtsd2siq, 8, 0, AVX, AVX, ARITHMETIC | LIG)                                     \
    X(COMPARE, 0F, NP, 0x2e, WIG, vucomiss, 4, 0, AVX, AVX, ARITHMETIC | LIG)                                          \
    X(COMPARE, 0F, P66, 0x2e, WIG, vucomisd, 8, 0, AVX, AVX, ARITHMETIC | LIG)                                         \
    X(COMPARE, 0F, NP, 0x2f, WIG, vcomiss, 4, 0, AVX, AVX, ARITHMETIC | LIG)                                           \
    X(COMPARE, 0F, P66, 0x2f, WIG, vcomisd, 8, 0, AVX, AVX, ARITHMETIC | LIG)                                          \
    X(TO_GENERAL, 0F, NP, 0x50, WIG, vmovmskps, 0, 0, AVX, AVX, REGISTER_ONLY)                                         \
    X(TO_GENERAL, 0F, P66, 0x50, WIG, vmovmskpd, 0, 0, AVX, AVX, REGISTER_ONLY)                                        \
    X(RM, 0F, NP, 0x51, WIG, vsqrtps, 16, 32, AVX, AVX, ARITHMETIC)                                                    \
    X(RM, 0F, P66, 0x51, WIG, vsqrtpd, 16, 32, AVX, AVX, ARITHMETIC)                                                   \
    SCALAR(X, 0x51, vsqrt)                                                                                             \
    X(RM, 0F, NP, 0x52, WIG, vrsqrtps, 16, 32, AVX, AVX, 0)                                                            \
    X(RVM, 0F, PF3, 0x52, WIG, vrsqrtss, 4, 0, AVX, AVX, LIG)                                                          \
    X(RM, 0F, NP, 0x53, WIG, vrcpps, 16, 32, AVX, AVX, 0)                                                              \
    X(RVM, 0F, PF3, 0x53, WIG, vrcpss, 4, 0, AVX, AVX, LIG)                                                            \
    BITS(X, 0x54, vand) BITS(X, 0x55, vandn) BITS(X, 0x56, vor) BITS(X, 0x57, vxor)                                    \
    PACKED(X, 0x58, vadd) SCALAR(X, 0x58, vadd) PACKED(X, 0x59, vmul) SCALAR(X, 0x59, vmul)                            \
    X(RM, 0F, NP, 0x5a, WIG, vcvtps2pd, 8, 16, AVX, AVX, ARITHMETIC)                                                   \
    X(RM, 0F, P66, 0x5a, WIG, vcvtpd2ps, 16, 32, AVX, AVX, ARITHMETIC)                                                 \
    X(RVM, 0F, PF3, 0x5a, WIG, vcvtss2sd, 4, 0, AVX, AVX, ARITHMETIC | LIG)                                            \
    X(RVM, 0F, PF2, 0x5a, WIG, vcvtsd2ss, 8, 0, AVX, AVX, ARITHMETIC | LIG)                                            \
    X(RM, 0F, NP, 0x5b, WIG, vcvtdq2ps, 16, 32, AVX, AVX, ARITHMETIC)                                                  \
    X(RM, 0F, P66, 0x5b, WIG, vcvtps2dq, 16, 32, AVX, AVX, ARITHMETIC)                                                 \
    X(RM, 0F, PF3, 0x5b, WIG, vcvttps2dq, 16, 32, AVX, AVX, ARITHMETIC)                                                \
    PACKED(X, 0x5c, vsub) SCALAR(X, 0x5c, vsub) PACKED(X, 0x5d, vmin) SCALAR(X, 0x5d, vmin)                            \
    PACKED(X, 0x5e, vdiv) SCALAR(X, 0x5e, vdiv) PACKED(X, 0x5f, vmax) SCALAR(X, 0x5f, vmax)                            \
    INTEGER(X, 0F, 0x60, vpunpcklbw) INTEGER(X, 0F, 0x61, vpunpcklwd) INTEGER(X, 0F, 0x62, vpunpckldq)                 \
    INTEGER(X, 0F, 0x63, vpacksswb) INTEGER(X, 0F, 0x64, vpcmpgtb) INTEGER(X, 0F, 0x65, vpcmpgtw)                      \
    INTEGER(X, 0F, 0x66, vpcmpgtd) INTEGER(X, 0F, 0x67, vpackuswb) INTEGER(X, 0F, 0x68, vpunpckhbw)                    \
    INTEGER(X, 0F, 0x69, vpunpckhwd) INTEGER(X, 0F, 0x6a, vpunpckhdq) INTEGER(X, 0F, 0x6b, vpackssdw)                  \
    INTEGER(X, 0F, 0x6c, vpunpcklqdq) INTEGER(X, 0F, 0x6d, vpunpckhqdq)                                                \
    X(RMI, 0F, P66, 0x70, WIG, vpshufd, 16, 32, AVX, AVX2, 0)                                                          \
    X(RMI, 0F, PF3, 0x70, WIG, vpshufhw, 16, 32, AVX, AVX2, 0)                                                         \
    X(RMI, 0F, PF2, 0x70, WIG, vpshuflw, 16, 32, AVX, AVX2, 0)                                                         \
    INTEGER(X, 0F, 0x74, vpcmpeqb) INTEGER(X, 0F, 0x75, vpcmpeqw) INTEGER(X, 0F, 0x76, vpcmpeqd)                       \
    X(RVM, 0F, P66, 0x7c, WIG, vhaddpd, 16, 32, AVX, AVX, ARITHMETIC)                                                  \
    X(RVM, 0F, PF2, 0x7c, WIG, vhaddps, 16, 32, AVX, AVX, ARITHMETIC)                                                  \
    X(RVM, 0F, P66, 0x7d, WIG, vhsubpd, 16, 32, AVX, AVX, ARITHMETIC)                                                  \
    X(RVM, 0F, PF2, 0x7d, WIG, vhsubps, 16, 32, AVX, AVX, ARITHMETIC)                                                  \
    X(RVMI, 0F, NP, 0xc2, WIG, vcmpps, 16, 32, AVX, AVX, ARITHMETIC)                                                   \
    X(RVMI, 0F, P66, 0xc2, WIG, vcmppd, 16, 32, AVX, AVX, ARITHMETIC)                                                  \
    X(RVMI, 0F, PF3, 0xc2, WIG, vcmpss, 4, 0, AVX, AVX, ARITHMETIC | LIG)                                              \
    X(RVMI, 0F, PF2, 0xc2, WIG, vcmpsd, 8, 0, AVX, AVX, ARITHMETIC | LIG)                                              \
    X(RVMI, 0F, NP, 0xc6, WIG, vshufps, 16, 32, AVX, AVX, 0)                                                           \
    X(RVMI, 0F, P66, 0xc6, WIG, vshufpd, 16, 32, AVX, AVX, 0)                                                          \
    X(RVM, 0F, P66, 0xd0, WIG, vaddsubpd, 16, 32, AVX, AVX, ARITHMETIC)                                                \
    X(RVM, 0F, PF2, 0xd0, WIG, vaddsubps, 16, 32, AVX, AVX, ARITHMETIC)                                                \
    X(RVM, 0F, P66, 0xd1, WIG, vpsrlw, 16, 16, AVX, AVX2, 0) X(RVM, 0F, P66, 0xd2, WIG, vpsrld, 16, 16, AVX, AVX2, 0)  \
    X(RVM, 0F, P66, 0xd3, WIG, vpsrlq, 16, 16, AVX, AVX2, 0)                                                           \
    INTEGER(X, 0F, 0xd4, vpaddq) INTEGER(X, 0F, 0xd5, vpmullw)                                                         \
    X(TO_GENERAL, 0F, P66, 0xd7, WIG, vpmovmskb, 0, 0, AVX, AVX2, REGISTER_ONLY)                                       \
    INTEGER(X, 0F, 0xd8, vpsubusb) INTEGER(X, 0F, 0xd9, vpsubusw) INTEGER(X, 0F, 0xda, vpminub)                        \
    INTEGER(X, 0F, 0xdb, vpand) INTEGER(X, 0F, 0xdc, vpaddusb) INTEGER(X, 0F, 0xdd, vpaddusw)                          \
    INTEGER(X, 0F, 0xde, vpmaxub) INTEGER(X, 0F, 0xdf, vpandn) INTEGER(X, 0F, 0xe0, vpavgb)                            \
    X(RVM, 0F, P66, 0xe1, WIG, vpsraw, 16, 16, AVX, AVX2, 0) X(RVM, 0F, P66, 0xe2, WIG, vpsrad, 16, 16, AVX, AVX2, 0)  \
    INTEGER(X, 0F, 0xe3, vpavgw) INTEGER(X, 0F, 0xe4, vpmulhuw) INTEGER(X, 0F, 0xe5, vpmulhw)                          \
    X(RM, 0F, P66, 0xe6, WIG, vcvttpd2dq, 16, 32, AVX, AVX, ARITHMETIC)                                                \
    X(RM, 0F, PF3, 0xe6, WIG, vcvtdq2pd, 8, 16, AVX, AVX, 0)                                                           \
    X(RM, 0F, PF2, 0xe6, WIG, vcvtpd2dq, 16, 32, AVX, AVX, ARITHMETIC)                                                 \
    INTEGER(X, 0F, 0xe8, vpsubsb) INTEGER(X, 0F, 0xe9, vpsubsw) INTEGER(X, 0F, 0xea, vpminsw)                          \
    INTEGER(X, 0F, 0xeb, vpor) INTEGER(X, 0F, 0xec, vpaddsb) INTEGER(X, 0F, 0xed, vpaddsw)                             \
    INTEGER(X, 0F, 0xee, vpmaxsw) INTEGER(X, 0F, 0xef, vpxor)                                                          \
    X(RVM, 0F, P66, 0xf1, WIG, vpsllw, 16, 16, AVX, AVX2, 0) X(RVM, 0F, P66, 0xf2, WIG, vpslld, 16, 16, AVX, AVX2, 0)  \
    X(RVM, 0F, P66, 0xf3, WIG, vpsllq, 16, 16, AVX, AVX2, 0)                                                           \
    INTEGER(X, 0F, 0xf4, vpmuludq) INTEGER(X, 0F, 0xf5, vpmaddwd) INTEGER(X, 0F, 0xf6, vpsadbw)                        \
    INTEGER(X, 0F, 0xf8, vpsubb) INTEGER(X, 0F, 0xf9, vpsubw) INTEGER(X, 0F, 0xfa, vpsubd)                             \
    INTEGER(X, 0F, 0xfb, vpsubq) INTEGER(X, 0F, 0xfc, vpaddb) INTEGER(X, 0F, 0xfd, vpaddw)                             \
    INTEGER(X, 0F, 0xfe, vpaddd)                                                                                       \
    INTEGER(X, 0F38, 0x00, vpshufb) INTEGER(X, 0F38, 0x01, vphaddw) INTEGER(X, 0F38, 0x02, vphaddd)                    \
    INTEGER(X, 0F38, 0x03, vphaddsw) INTEGER(X, 0F38, 0x04, vpmaddubsw) INTEGER(X, 0F38, 0x05, vphsubw)                \
    INTEGER(X, 0F38, 0x06, vphsubd) INTEGER(X, 0F38, 0x07, vphsubsw) INTEGER(X, 0F38, 0x08, vpsignb)                   \
    INTEGER(X, 0F38, 0x09, vpsignw) INTEGER(X, 0F38, 0x0a, vpsignd) INTEGER(X, 0F38, 0x0b, vpmulhrsw)                  \
    X(RVM, 0F38, P66, 0x0c, W0, vpermilps_by, 16, 32, AVX, AVX, 0)                                                     \
    X(RVM, 0F38, P66, 0x0d, W0, vpermilpd_by, 16, 32, AVX, AVX, 0)                                                     \
    X(COMPARE, 0F38, P66, 0x0e, W0, vtestps, 16, 32, AVX, AVX, 0)                                                      \
    X(COMPARE, 0F38, P66, 0x0f, W0, vtestpd, 16, 32, AVX, AVX, 0)                                                      \
    X(RM, 0F38, P66, 0x13, W0, vcvtph2ps, 8, 16, F16C, F16C, ARITHMETIC)                                               \
    X(RVM, 0F38, P66, 0x16, W0, vpermps, 0, 32, NONE, AVX2, 0)                                                         \
    X(COMPARE, 0F38, P66, 0x17, WIG, vptest, 16, 32, AVX, AVX, 0)                                                      \
    X(RM, 0F38, P66, 0x1c, WIG, vpabsb, 16, 32, AVX, AVX2, 0) X(RM, 0F38, P66, 0x1d, WIG, vpabsw, 16, 32, AVX, AVX2, 0)\
    X(RM, 0F38, P66, 0x1e, WIG, vpabsd, 16, 32, AVX, AVX2, 0)                                                          \
    EXTEND(X, 0x20, vpmovsxbw, 8, 16) EXTEND(X, 0x21, vpmovsxbd, 4, 8) EXTEND(X, 0x22, vpmovsxbq, 2, 4)                \
    EXTEND(X, 0x23, vpmovsxwd, 8, 16) EXTEND(X, 0x24, vpmovsxwq, 4, 8) EXTEND(X, 0x25, vpmovsxdq, 8, 16)               \
    INTEGER(X, 0F38, 0x28, vpmuldq) INTEGER(X, 0F38, 0x29, vpcmpeqq)                                                   \
    INTEGER(X, 0F38, 0x2b, vpackusdw)                                                                                  \
    EXTEND(X, 0x30, vpmovzxbw, 8, 16) EXTEND(X, 0x31, vpmovzxbd, 4, 8) EXTEND(X, 0x32, vpmovzxbq, 2, 4)                \
    EXTEND(X, 0x33, vpmovzxwd, 8, 16) EXTEND(X, 0x34, vpmovzxwq, 4, 8) EXTEND(X, 0x35, vpmovzxdq, 8, 16)               \
    X(RVM, 0F38, P66, 0x36, W0, vpermd, 0, 32, NONE, AVX2, 0)                                                          \
    INTEGER(X, 0F38, 0x37, vpcmpgtq) INTEGER(X, 0F38, 0x38, vpminsb) INTEGER(X, 0F38, 0x39, vpminsd)                   \
    INTEGER(X, 0F38, 0x3a, vpminuw) INTEGER(X, 0F38, 0x3b, vpminud) INTEGER(X, 0F38, 0x3c, vpmaxsb)                    \
    INTEGER(X, 0F38, 0x3d, vpmaxsd) INTEGER(X, 0F38, 0x3e, vpmaxuw) INTEGER(X, 0F38, 0x3f, vpmaxud)                    \
    INTEGER(X, 0F38, 0x40, vpmulld)                                                                                    \
    X(RM, 0F38, P66, 0x41, WIG, vphminposuw, 16, 0, AVX, NONE, 0)                                                      \
    BY_LANE_COUNT(X, 0x45, vpsrlv)                                                                                     \
    X(RVM, 0F38, P66, 0x46, W0, vpsravd, 16, 32, AVX2, AVX2, 0)                                                        \
    BY_LANE_COUNT(X, 0x47, vpsllv)                                                                                     \
    FMA_ORDER(X, 0x9, 132) FMA_ORDER(X, 0xa, 213) FMA_ORDER(X, 0xb, 231)                                               \
    X(RM, 0F38, P66, 0xdb, WIG, vaesimc, 16, 0, AES, NONE, 0)                                                          \
    X(RVM, 0F38, P66, 0xdc, WIG, vaesenc, 16, 0, AES, NONE, 0)                                                         \
    X(RVM, 0F38, P66, 0xdd, WIG, vaesenclast, 16, 0, AES, NONE, 0)                                                     \
    X(RVM, 0F38, P66, 0xde, WIG, vaesdec, 16, 0, AES, NONE, 0)                                                         \
    X(RVM, 0F38, P66, 0xdf, WIG, vaesdeclast, 16, 0, AES, NONE, 0)                                                     \
    X(RMI, 0F3A, P66, 0x00, W1, vpermq, 0, 32, NONE, AVX2, 0)                                                          \
    X(RMI, 0F3A, P66, 0x01, W1, vpermpd, 0, 32, NONE, AVX2, 0)                                                         \
    X(RVMI, 0F3A, P66, 0x02, W0, vpblendd, 16, 32, AVX2, AVX2, 0)                                                      \
    X(RMI, 0F3A, P66, 0x04, W0, vpermilps, 16, 32, AVX, AVX, 0)                                                        \
    X(RMI, 0F3A, P66, 0x05, W0, vpermilpd, 16, 32, AVX, AVX, 0)                                                        \
    X(RVMI, 0F3A, P66, 0x06, W0, vperm2f128, 0, 32, NONE, AVX, 0)                                                      \
    X(RMI, 0F3A, P66, 0x08, WIG, vroundps, 16, 32, AVX, AVX, ARITHMETIC)                                               \
    X(RMI, 0F3A, P66, 0x09, WIG, vroundpd, 16, 32, AVX, AVX, ARITHMETIC)                                               \
    X(RVMI, 0F3A, P66, 0x0a, WIG, vroundss, 4, 0, AVX, AVX, ARITHMETIC | LIG)                                          \
    X(RVMI, 0F3A, P66, 0x0b, WIG, vroundsd, 8, 0, AVX, AVX, ARITHMETIC | LIG)                                          \
    X(RVMI, 0F3A, P66, 0x0c, WIG, vblendps, 16, 32, AVX, AVX, 0)                                                       \
    X(RVMI, 0F3A, P66, 0x0d, WIG, vblendpd, 16, 32, AVX, AVX, 0)                                                       \
    X(RVMI, 0F3A, P66, 0x0e, WIG, vpblendw, 16, 32, AVX, AVX2, 0)                                                      \
    X(RVMI, 0F3A, P66, 0x0f, WIG, vpalignr, 16, 32, AVX, AVX2, 0)                                                      \
    X(MRI, 0F3A, P66, 0x1d, W0, vcvtps2ph, 8, 16, F16C, F16C, ARITHMETIC)                                              \
    X(RVMI, 0F3A, P66, 0x21, WIG, vinsertps, 4, 0, AVX, NONE, ONE_LANE)                                                \
    X(RVMI, 0F3A, P66, 0x40, WIG, vdpps, 16, 32, AVX, AVX, ARITHMETIC)                                                 \
    X(RVMI, 0F3A, P66, 0x41, WIG, vdppd, 16, 0, AVX, NONE, ARITHMETIC)                                                 \
    X(RVMI, 0F3A, P66, 0x42, WIG, vmpsadbw, 16, 32, AVX, AVX2, 0)                                                      \
    X(RVMI, 0F3A, P66, 0x44, WIG, vpclmulqdq, 16, 0, PCLMULQDQ, NONE, 0)                                               \
    X(RVMI, 0F3A, P66, 0x46, W0, vperm2i128, 0, 32, NONE, AVX2, 0)                                                     \
    X(RVMR, 0F3A, P66, 0x4a, W0, vblendvps, 16, 32, AVX, AVX, 0)                                                       \
    X(RVMR, 0F3A, P66, 0x4b, W0, vblendvpd, 16, 32, AVX, AVX, 0)                                                       \
    X(RVMR, 0F3A, P66, 0x4c, W0, vpblendvb, 16, 32, AVX, AVX2, 0)                                                      \
    X(STRING_MASK, 0F3A, P66, 0x60, WIG, vpcmpestrm, 16, 0, AVX, NONE, 0)                                              \
    X(STRING_INDEX, 0F3A, P66, 0x61, WIG, vpcmpestri, 16, 0, AVX, NONE, 0)                                             \
    X(STRING_MASK, 0F3A, P66, 0x62, WIG, vpcmpistrm, 16, 0, AVX, NONE, 0)                                              \
    X(STRING_INDEX, 0F3A, P66, 0x63, WIG, vpcmpistri, 16, 0, AVX, NONE, 0)                                             \
    X(RMI, 0F3A, P66, 0xdf, WIG, vaeskeygenassist, 16, 0, AES, NONE, 0)

/* What moves, in C. */
#define AVX_MOVE_ROWS(X)                                                                                               \
    X(LOAD, 0F, NP, 0x10, WIG, vmovups, 16, 32, AVX, AVX, 0)                                                           \
    X(LOAD, 0F, P66, 0x10, WIG, vmovupd, 16, 32, AVX, AVX, 0)                                                          \
    X(LOAD_SCALAR, 0F, PF3, 0x10, WIG, vmovss, 4, 0, AVX, AVX, LIG)                                                    \
    X(LOAD_SCALAR, 0F, PF2, 0x10, WIG, vmovsd, 8, 0, AVX, AVX, LIG)                                                    \
    X(STORE, 0F, NP, 0x11, WIG, vmovups_store, 16, 32, AVX, AVX, 0)                                                    \
    X(STORE, 0F, P66, 0x11, WIG, vmovupd_store, 16, 32, AVX, AVX, 0)                                                   \
    X(STORE_SCALAR, 0F, PF3, 0x11, WIG, vmovss_store, 4, 0, AVX, AVX, LIG)                                             \
    X(STORE_SCALAR, 0F, PF2, 0x11, WIG, vmovsd_store, 8, 0, AVX, AVX, LIG)                                             \
    X(MOVE_LOW, 0F, NP, 0x12, WIG, vmovlps, 8, 0, AVX, NONE, 0)                                                        \
    X(MOVE_LOW, 0F, P66, 0x12, WIG, vmovlpd, 8, 0, AVX, NONE, MEMORY_ONLY)                                             \
    X(STORE, 0F, NP, 0x13, WIG, vmovlps_store, 8, 0, AVX, NONE, MEMORY_ONLY)                                           \
    X(STORE, 0F, P66, 0x13, WIG, vmovlpd_store, 8, 0, AVX, NONE, MEMORY_ONLY)                                          \
    X(MOVE_HIGH, 0F, NP, 0x16, WIG, vmovhps, 8, 0, AVX, NONE, 0)                                                       \
    X(MOVE_HIGH, 0F, P66, 0x16, WIG, vmovhpd, 8, 0, AVX, NONE, MEMORY_ONLY)                                            \
    X(STORE, 0F, NP, 0x17, WIG, vmovhps_store, 8, 0, AVX, NONE, MEMORY_ONLY | HIGH_QUARTER)                            \
    X(STORE, 0F, P66, 0x17, WIG, vmovhpd_store, 8, 0, AVX, NONE, MEMORY_ONLY | HIGH_QUARTER)                           \
    X(LOAD, 0F, NP, 0x28, WIG, vmovaps, 16, 32, AVX, AVX, ALIGNED)                                                     \
    X(LOAD, 0F, P66, 0x28, WIG, vmovapd, 16, 32, AVX, AVX, ALIGNED)                                                    \
    X(STORE, 0F, NP, 0x29, WIG, vmovaps_store, 16, 32, AVX, AVX, ALIGNED)                                              \
    X(STORE, 0F, P66, 0x29, WIG, vmovapd_store, 16, 32, AVX, AVX, ALIGNED)                                             \
    X(STORE, 0F, NP, 0x2b, WIG, vmovntps, 16, 32, AVX, AVX, MEMORY_ONLY | ALIGNED)                                     \
    X(STORE, 0F, P66, 0x2b, WIG, vmovntpd, 16, 32, AVX, AVX, MEMORY_ONLY | ALIGNED)                                    \
    X(LOAD_GENERAL, 0F, P66, 0x6e, W0, vmovd, 4, 0, AVX, NONE, 0)                                                      \
    X(LOAD_GENERAL, 0F, P66, 0x6e, W1, vmovd_wide, 8, 0, AVX, NONE, 0)                                                 \
    X(LOAD, 0F, P66, 0x6f, WIG, vmovdqa, 16, 32, AVX, AVX, ALIGNED)                                                    \
    X(LOAD, 0F, PF3, 0x6f, WIG, vmovdqu, 16, 32, AVX, AVX, 0)                                                          \
    X(ZERO, 0F, NP, 0x77, WIG, vzeroupper, 0, 0, AVX, AVX, 0)                                                          \
    X(STORE_GENERAL, 0F, P66, 0x7e, W0, vmovd_store, 4, 0, AVX, NONE, 0)                                               \
    X(STORE_GENERAL, 0F, P66, 0x7e, W1, vmovd_wide_store, 8, 0, AVX, NONE, 0)                                          \
    X(LOAD, 0F, PF3, 0x7e, WIG, vmovq, 8, 0, AVX, NONE, 0)                                                             \
    X(STORE, 0F, P66, 0x7f, WIG, vmovdqa_store, 16, 32, AVX, AVX, ALIGNED)                                             \
    X(STORE, 0F, PF3, 0x7f, WIG, vmovdqu_store, 16, 32, AVX, AVX, 0)                                                   \
    X(INSERT, 0F, P66, 0xc4, WIG, vpinsrw, 2, 0, AVX, NONE, 0)                                                         \
    X(EXTRACT_WORD, 0F, P66, 0xc5, WIG, vpextrw, 2, 0, AVX, NONE, REGISTER_ONLY)                                       \
    X(STORE, 0F, P66, 0xd6, WIG, vmovq_store, 8, 0, AVX, NONE, 0)                                                      \
    X(STORE, 0F, P66, 0xe7, WIG, vmovntdq, 16, 32, AVX, AVX, MEMORY_ONLY | ALIGNED)                                    \
    X(LOAD, 0F, PF2, 0xf0, WIG, vlddqu, 16, 32, AVX, AVX, MEMORY_ONLY)                                                 \
    X(STORE_BYTES, 0F, P66, 0xf7, WIG, vmaskmovdqu, 0, 0, AVX, NONE, REGISTER_ONLY)                                    \
    X(BROADCAST, 0F38, P66, 0x18, W0, vbroadcastss, 4, 4, AVX, AVX, REGISTER_AVX2)                                     \
    X(BROADCAST, 0F38, P66, 0x19, W0, vbroadcastsd, 0, 8, NONE, AVX, REGISTER_AVX2)                                    \
    X(BROADCAST, 0F38, P66, 0x1a, W0, vbroadcastf128, 0, 16, NONE, AVX, MEMORY_ONLY)                                   \
    X(LOAD, 0F38, P66, 0x2a, WIG, vmovntdqa, 16, 32, AVX, AVX2, MEMORY_ONLY | ALIGNED)                                 \
    X(MASKED_LOAD, 0F38, P66, 0x2c, W0, vmaskmovps, 4, 4, AVX, AVX, MEMORY_ONLY)                                       \
    X(MASKED_LOAD, 0F38, P66, 0x2d, W0, vmaskmovpd, 8, 8, AVX, AVX, MEMORY_ONLY)                                       \
    X(MASKED_STORE, 0F38, P66, 0x2e, W0, vmaskmovps_store, 4, 4, AVX, AVX, MEMORY_ONLY)                                \
    X(MASKED_STORE, 0F38, P66, 0x2f, W0, vmaskmovpd_store, 8, 8, AVX, AVX, MEMORY_ONLY)                                \
    X(BROADCAST, 0F38, P66, 0x58, W0, vpbroadcastd, 4, 4, AVX2, AVX2, 0)                                               \
    X(BROADCAST, 0F38, P66, 0x59, W0, vpbroadcastq, 8, 8, AVX2, AVX2, 0)                                               \
    X(BROADCAST, 0F38, P66, 0x5a, W0, vbroadcasti128, 0, 16, NONE, AVX2, MEMORY_ONLY)                                  \
    X(BROADCAST, 0F38, P66, 0x78, W0, vpbroadcastb, 1, 1, AVX2, AVX2, 0)                                               \
    X(BROADCAST, 0F38, P66, 0x79, W0, vpbroadcastw, 2, 2, AVX2, AVX2, 0)                                               \
    X(MASKED_LOAD, 0F38, P66, 0x8c, W0, vpmaskmovd, 4, 4, AVX2, AVX2, MEMORY_ONLY)                                     \
    X(MASKED_LOAD, 0F38, P66, 0x8c, W1, vpmaskmovq, 8, 8, AVX2, AVX2, MEMORY_ONLY)                                     \
    X(MASKED_STORE, 0F38, P66, 0x8e, W0, vpmaskmovd_store, 4, 4, AVX2, AVX2, MEMORY_ONLY)                              \
    X(MASKED_STORE, 0F38, P66, 0x8e, W1, vpmaskmovq_store, 8, 8, AVX2, AVX2, MEMORY_ONLY)                              \
    X(GATHER_D, 0F38, P66, 0x90, W0, vpgatherdd, 4, 4, AVX2, AVX2, MEMORY_ONLY)                                        \
    X(GATHER_D, 0F38, P66, 0x90, W1, vpgatherdq, 8, 8, AVX2, AVX2, MEMORY_ONLY)                                        \
    X(GATHER_Q, 0F38, P66, 0x91, W0, vpgatherqd, 4, 4, AVX2, AVX2, MEMORY_ONLY)                                        \
    X(GATHER_Q, 0F38, P66, 0x91, W1, vpgatherqq, 8, 8, AVX2, AVX2, MEMORY_ONLY)                                        \
    X(GATHER_D, 0F38, P66, 0x92, W0, vgatherdps, 4, 4, AVX2, AVX2, MEMORY_ONLY)                                        \
    X(GATHER_D, 0F38, P66, 0x92, W1, vgatherdpd, 8, 8, AVX2, AVX2, MEMORY_ONLY)                                        \
    X(GATHER_Q, 0F38, P66, 0x93, W0, vgatherqps, 4, 4, AVX2, AVX2, MEMORY_ONLY)                                        \
    X(GATHER_Q, 0F38, P66, 0x93, W1, vgatherqpd, 8, 8, AVX2, AVX2, MEMORY_ONLY)                                        \
    X(EXTRACT, 0F3A, P66, 0x14, WIG, vpextrb, 1, 0, AVX, NONE, 0)                                                      \
    X(EXTRACT, 0F3A, P66, 0x15, WIG, vpextrw_store, 2, 0, AVX, NONE, 0)                                                \
    X(EXTRACT, 0F3A, P66, 0x16, W0, vpextrd, 4, 0, AVX, NONE, 0)                                                       \
    X(EXTRACT, 0F3A, P66, 0x16, W1, vpextrq, 8, 0, AVX, NONE, 0)                                                       \
    X(EXTRACT, 0F3A, P66, 0x17, WIG, vextractps, 4, 0, AVX, NONE, 0)                                                   \
    X(INSERT_HALF, 0F3A, P66, 0x18, W0, vinsertf128, 0, 16, NONE, AVX, 0)                                              \
    X(EXTRACT_HALF, 0F3A, P66, 0x19, W0, vextractf128, 0, 16, NONE, AVX, 0)                                            \
    X(INSERT, 0F3A, P66, 0x20, WIG, vpinsrb, 1, 0, AVX, NONE, 0)                                                       \
    X(INSERT, 0F3A, P66, 0x22, W0, vpinsrd, 4, 0, AVX, NONE, 0)                                                        \
    X(INSERT, 0F3A, P66, 0x22, W1, vpinsrq, 8, 0, AVX, NONE, 0)                                                        \
    X(INSERT_HALF, 0F3A, P66, 0x38, W0, vinserti128, 0, 16, NONE, AVX2, 0)                                             \
    X(EXTRACT_HALF, 0F3A, P66, 0x39, W0, vextracti128, 0, 16, NONE, AVX2, 0)

#define AVX_ROWS(X) AVX_STUB_ROWS(X) AVX_MOVE_ROWS(X)

/* Shifts by an immediate, opcodes 71h to 73h by ModRM.reg: X(opcode, reg, mnemonic). */
#define AVX_SHIFT_ROWS(X)                                                                                              \
    X(0x71, 2, vpsrlw) X(0x71, 4, vpsraw) X(0x71, 6, vpsllw)                                                           \
    X(0x72, 2, vpsrld) X(0x72, 4, vpsrad) X(0x72, 6, vpslld)                                                           \
    X(0x73, 2, vpsrlq) X(0x73, 3, vpsrldq) X(0x73, 6, vpsllq) X(0x73, 7, vpslldq)
