	.text
	.amdgcn_target "amdgcn-amd-amdhsa--gfx1030"
	.protected	spill                   ; -- Begin function spill
	.globl	spill
	.p2align	8
	.type	spill,@function
spill:                                  ; @spill
; %bb.0:
	s_mov_b64 s[30:31], s[2:3]
	s_mov_b64 s[28:29], s[0:1]
	s_load_dword s4, s[4:5], 0x4
	s_load_dwordx2 s[0:1], s[6:7], 0x18
	s_add_u32 s28, s28, s9
	s_addc_u32 s29, s29, 0
	s_add_u32 s2, s6, 24
	s_addc_u32 s3, s7, 0
	s_load_dword s10, s[6:7], 0x10
	s_waitcnt lgkmcnt(0)
	s_and_b32 s9, s4, 0xffff
	s_load_dwordx2 s[4:5], s[6:7], 0x0
	v_mad_u64_u32 v[1:2], null, s8, s9, v[0:1]
	v_add_co_u32 v1, s0, s0, v1
	v_add_co_ci_u32_e64 v2, null, s1, 0, s0
	s_load_dwordx2 s[0:1], s[6:7], 0x8
	v_mad_u64_u32 v[5:6], null, v1, 24, 0
	s_cmp_lt_i32 s10, 1
	v_mov_b32_e32 v1, v6
	v_mad_u64_u32 v[11:12], null, v2, 24, v[1:2]
	v_mov_b32_e32 v6, v11
	v_lshlrev_b64 v[1:2], 2, v[5:6]
	s_waitcnt lgkmcnt(0)
	v_add_co_u32 v13, vcc_lo, s4, v1
	v_add_co_ci_u32_e32 v14, vcc_lo, s5, v2, vcc_lo
	global_load_dwordx4 v[1:4], v[13:14], off
	s_waitcnt vmcnt(0)
	buffer_store_dword v1, off, s[28:31], 0 offset:68 ; 4-byte Folded Spill
	buffer_store_dword v2, off, s[28:31], 0 offset:72 ; 4-byte Folded Spill
	buffer_store_dword v3, off, s[28:31], 0 offset:76 ; 4-byte Folded Spill
	buffer_store_dword v4, off, s[28:31], 0 offset:80 ; 4-byte Folded Spill
	s_clause 0x1
	global_load_dwordx4 v[7:10], v[13:14], off offset:16
	global_load_dwordx4 v[1:4], v[13:14], off offset:32
	s_waitcnt vmcnt(0)
	buffer_store_dword v1, off, s[28:31], 0 offset:84 ; 4-byte Folded Spill
	buffer_store_dword v2, off, s[28:31], 0 offset:88 ; 4-byte Folded Spill
	buffer_store_dword v3, off, s[28:31], 0 offset:92 ; 4-byte Folded Spill
	buffer_store_dword v4, off, s[28:31], 0 offset:96 ; 4-byte Folded Spill
	global_load_dwordx4 v[1:4], v[13:14], off offset:48
	s_waitcnt vmcnt(0)
	buffer_store_dword v1, off, s[28:31], 0 offset:20 ; 4-byte Folded Spill
	buffer_store_dword v2, off, s[28:31], 0 offset:24 ; 4-byte Folded Spill
	buffer_store_dword v3, off, s[28:31], 0 offset:28 ; 4-byte Folded Spill
	buffer_store_dword v4, off, s[28:31], 0 offset:32 ; 4-byte Folded Spill
	global_load_dwordx4 v[1:4], v[13:14], off offset:64
	s_waitcnt vmcnt(0)
	buffer_store_dword v1, off, s[28:31], 0 offset:4 ; 4-byte Folded Spill
	buffer_store_dword v2, off, s[28:31], 0 offset:8 ; 4-byte Folded Spill
	buffer_store_dword v3, off, s[28:31], 0 offset:12 ; 4-byte Folded Spill
	buffer_store_dword v4, off, s[28:31], 0 offset:16 ; 4-byte Folded Spill
	global_load_dwordx4 v[1:4], v[13:14], off offset:80
	s_waitcnt vmcnt(0)
	buffer_store_dword v1, off, s[28:31], 0 offset:36 ; 4-byte Folded Spill
	buffer_store_dword v2, off, s[28:31], 0 offset:40 ; 4-byte Folded Spill
	buffer_store_dword v3, off, s[28:31], 0 offset:44 ; 4-byte Folded Spill
	buffer_store_dword v4, off, s[28:31], 0 offset:48 ; 4-byte Folded Spill
	buffer_store_dword v7, off, s[28:31], 0 offset:52 ; 4-byte Folded Spill
	buffer_store_dword v8, off, s[28:31], 0 offset:56 ; 4-byte Folded Spill
	buffer_store_dword v9, off, s[28:31], 0 offset:60 ; 4-byte Folded Spill
	buffer_store_dword v10, off, s[28:31], 0 offset:64 ; 4-byte Folded Spill
	s_cbranch_scc1 .LBB0_4
; %bb.1:
	s_clause 0xb
	buffer_load_dword v5, off, s[28:31], 0 offset:4
	buffer_load_dword v6, off, s[28:31], 0 offset:8
	buffer_load_dword v7, off, s[28:31], 0 offset:12
	buffer_load_dword v8, off, s[28:31], 0 offset:16
	buffer_load_dword v9, off, s[28:31], 0 offset:20
	buffer_load_dword v10, off, s[28:31], 0 offset:24
	buffer_load_dword v11, off, s[28:31], 0 offset:28
	buffer_load_dword v12, off, s[28:31], 0 offset:32
	buffer_load_dword v1, off, s[28:31], 0 offset:84
	buffer_load_dword v2, off, s[28:31], 0 offset:88
	buffer_load_dword v3, off, s[28:31], 0 offset:92
	buffer_load_dword v4, off, s[28:31], 0 offset:96
	s_add_u32 s4, s4, 0x5c
	s_addc_u32 s5, s5, 0
	s_mov_b64 s[6:7], s[0:1]
.LBB0_2:                                ; =>This Inner Loop Header: Depth=1
	s_waitcnt vmcnt(8)
	buffer_store_dword v5, off, s[28:31], 0 offset:4 ; 4-byte Folded Spill
	buffer_store_dword v6, off, s[28:31], 0 offset:8 ; 4-byte Folded Spill
	buffer_store_dword v7, off, s[28:31], 0 offset:12 ; 4-byte Folded Spill
	buffer_store_dword v8, off, s[28:31], 0 offset:16 ; 4-byte Folded Spill
	s_load_dword s11, s[6:7], 0x0
	s_clause 0x1
	s_load_dwordx16 s[12:27], s[4:5], -0x5c
	s_load_dwordx8 s[36:43], s[4:5], -0x1c
	s_clause 0x3
	buffer_load_dword v5, off, s[28:31], 0 offset:68
	buffer_load_dword v6, off, s[28:31], 0 offset:72
	buffer_load_dword v7, off, s[28:31], 0 offset:76
	buffer_load_dword v8, off, s[28:31], 0 offset:80
	s_add_i32 s10, s10, -1
	s_add_u32 s4, s4, 0x60
	s_addc_u32 s5, s5, 0
	s_add_u32 s6, s6, 4
	s_addc_u32 s7, s7, 0
	s_cmp_eq_u32 s10, 0
	s_waitcnt vmcnt(4) lgkmcnt(0)
	v_fma_f32 v9, v9, s11, s24
	v_fma_f32 v10, v10, s11, s25
	v_fma_f32 v11, v11, s11, s26
	v_fma_f32 v12, v12, s11, s27
	v_fma_f32 v1, v1, s11, s20
	v_fma_f32 v2, v2, s11, s21
	v_fma_f32 v3, v3, s11, s22
	v_fma_f32 v4, v4, s11, s23
	s_waitcnt vmcnt(0)
	v_fma_f32 v5, v5, s11, s12
	v_fma_f32 v6, v6, s11, s13
	v_fma_f32 v7, v7, s11, s14
	v_fma_f32 v8, v8, s11, s15
	buffer_store_dword v5, off, s[28:31], 0 offset:68 ; 4-byte Folded Spill
	buffer_store_dword v6, off, s[28:31], 0 offset:72 ; 4-byte Folded Spill
	buffer_store_dword v7, off, s[28:31], 0 offset:76 ; 4-byte Folded Spill
	buffer_store_dword v8, off, s[28:31], 0 offset:80 ; 4-byte Folded Spill
	s_clause 0x3
	buffer_load_dword v5, off, s[28:31], 0 offset:52
	buffer_load_dword v6, off, s[28:31], 0 offset:56
	buffer_load_dword v7, off, s[28:31], 0 offset:60
	buffer_load_dword v8, off, s[28:31], 0 offset:64
	s_waitcnt vmcnt(0)
	v_fma_f32 v5, v5, s11, s16
	v_fma_f32 v6, v6, s11, s17
	v_fma_f32 v7, v7, s11, s18
	v_fma_f32 v8, v8, s11, s19
	buffer_store_dword v5, off, s[28:31], 0 offset:52 ; 4-byte Folded Spill
	buffer_store_dword v6, off, s[28:31], 0 offset:56 ; 4-byte Folded Spill
	buffer_store_dword v7, off, s[28:31], 0 offset:60 ; 4-byte Folded Spill
	buffer_store_dword v8, off, s[28:31], 0 offset:64 ; 4-byte Folded Spill
	s_clause 0x3
	buffer_load_dword v5, off, s[28:31], 0 offset:4
	buffer_load_dword v6, off, s[28:31], 0 offset:8
	buffer_load_dword v7, off, s[28:31], 0 offset:12
	buffer_load_dword v8, off, s[28:31], 0 offset:16
	buffer_store_dword v9, off, s[28:31], 0 offset:20 ; 4-byte Folded Spill
	buffer_store_dword v10, off, s[28:31], 0 offset:24 ; 4-byte Folded Spill
	buffer_store_dword v11, off, s[28:31], 0 offset:28 ; 4-byte Folded Spill
	buffer_store_dword v12, off, s[28:31], 0 offset:32 ; 4-byte Folded Spill
	s_clause 0x3
	buffer_load_dword v9, off, s[28:31], 0 offset:36
	buffer_load_dword v10, off, s[28:31], 0 offset:40
	buffer_load_dword v11, off, s[28:31], 0 offset:44
	buffer_load_dword v12, off, s[28:31], 0 offset:48
	s_waitcnt vmcnt(4)
	v_fma_f32 v5, v5, s11, s36
	v_fma_f32 v6, v6, s11, s37
	s_waitcnt vmcnt(0)
	v_fma_f32 v9, v9, s11, s40
	v_fma_f32 v10, v10, s11, s41
	v_fma_f32 v11, v11, s11, s42
	v_fma_f32 v12, v12, s11, s43
	buffer_store_dword v9, off, s[28:31], 0 offset:36 ; 4-byte Folded Spill
	buffer_store_dword v10, off, s[28:31], 0 offset:40 ; 4-byte Folded Spill
	buffer_store_dword v11, off, s[28:31], 0 offset:44 ; 4-byte Folded Spill
	buffer_store_dword v12, off, s[28:31], 0 offset:48 ; 4-byte Folded Spill
	s_clause 0x3
	buffer_load_dword v9, off, s[28:31], 0 offset:20
	buffer_load_dword v10, off, s[28:31], 0 offset:24
	buffer_load_dword v11, off, s[28:31], 0 offset:28
	buffer_load_dword v12, off, s[28:31], 0 offset:32
	v_fma_f32 v7, v7, s11, s38
	v_fma_f32 v8, v8, s11, s39
	s_cbranch_scc0 .LBB0_2
; %bb.3:
	buffer_store_dword v1, off, s[28:31], 0 offset:84 ; 4-byte Folded Spill
	buffer_store_dword v2, off, s[28:31], 0 offset:88 ; 4-byte Folded Spill
	buffer_store_dword v3, off, s[28:31], 0 offset:92 ; 4-byte Folded Spill
	buffer_store_dword v4, off, s[28:31], 0 offset:96 ; 4-byte Folded Spill
	buffer_store_dword v5, off, s[28:31], 0 offset:4 ; 4-byte Folded Spill
	buffer_store_dword v6, off, s[28:31], 0 offset:8 ; 4-byte Folded Spill
	buffer_store_dword v7, off, s[28:31], 0 offset:12 ; 4-byte Folded Spill
	buffer_store_dword v8, off, s[28:31], 0 offset:16 ; 4-byte Folded Spill
	s_load_dwordx2 s[2:3], s[2:3], 0x0
	v_mad_u64_u32 v[13:14], null, s8, s9, v[0:1]
	s_waitcnt lgkmcnt(0)
	v_add_co_u32 v0, s2, s2, v13
	v_add_co_ci_u32_e64 v13, null, s3, 0, s2
	v_mad_u64_u32 v[5:6], null, v0, 24, 0
	v_mov_b32_e32 v0, v6
	v_or_b32_e32 v3, 1, v5
	v_or_b32_e32 v2, 3, v5
	s_waitcnt vmcnt(0)
	v_or_b32_e32 v9, 4, v5
	v_mad_u64_u32 v[13:14], null, v13, 24, v[0:1]
	v_or_b32_e32 v0, 2, v5
	v_mov_b32_e32 v4, v13
	v_mov_b32_e32 v1, v13
	v_mov_b32_e32 v10, v13
	v_mov_b32_e32 v6, v13
	buffer_store_dword v3, off, s[28:31], 0 offset:276 ; 4-byte Folded Spill
	buffer_store_dword v4, off, s[28:31], 0 offset:280 ; 4-byte Folded Spill
	v_mov_b32_e32 v3, v13
	buffer_store_dword v0, off, s[28:31], 0 offset:100 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:104 ; 4-byte Folded Spill
	buffer_store_dword v2, off, s[28:31], 0 offset:108 ; 4-byte Folded Spill
	buffer_store_dword v3, off, s[28:31], 0 offset:112 ; 4-byte Folded Spill
	buffer_store_dword v9, off, s[28:31], 0 offset:116 ; 4-byte Folded Spill
	buffer_store_dword v10, off, s[28:31], 0 offset:120 ; 4-byte Folded Spill
	s_branch .LBB0_5
.LBB0_4:
	v_or_b32_e32 v0, 1, v5
	v_mov_b32_e32 v1, v11
	buffer_store_dword v0, off, s[28:31], 0 offset:276 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:280 ; 4-byte Folded Spill
	v_or_b32_e32 v0, 2, v5
	buffer_store_dword v0, off, s[28:31], 0 offset:100 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:104 ; 4-byte Folded Spill
	v_or_b32_e32 v0, 3, v5
	buffer_store_dword v0, off, s[28:31], 0 offset:108 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:112 ; 4-byte Folded Spill
	v_or_b32_e32 v0, 4, v5
	buffer_store_dword v0, off, s[28:31], 0 offset:116 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:120 ; 4-byte Folded Spill
.LBB0_5:
	v_or_b32_e32 v0, 5, v5
	v_lshlrev_b64 v[13:14], 2, v[5:6]
	buffer_store_dword v0, off, s[28:31], 0 offset:124 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:128 ; 4-byte Folded Spill
	v_or_b32_e32 v0, 6, v5
	buffer_store_dword v0, off, s[28:31], 0 offset:132 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:136 ; 4-byte Folded Spill
	v_or_b32_e32 v0, 7, v5
	buffer_store_dword v0, off, s[28:31], 0 offset:156 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:160 ; 4-byte Folded Spill
	v_add_co_u32 v0, vcc_lo, v5, 8
	v_add_co_ci_u32_e32 v1, vcc_lo, 0, v6, vcc_lo
	buffer_store_dword v0, off, s[28:31], 0 offset:140 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:144 ; 4-byte Folded Spill
	v_add_co_u32 v0, vcc_lo, v5, 9
	v_add_co_ci_u32_e32 v1, vcc_lo, 0, v6, vcc_lo
	buffer_store_dword v0, off, s[28:31], 0 offset:148 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:152 ; 4-byte Folded Spill
	v_add_co_u32 v0, vcc_lo, v5, 10
	v_add_co_ci_u32_e32 v1, vcc_lo, 0, v6, vcc_lo
	buffer_store_dword v0, off, s[28:31], 0 offset:164 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:168 ; 4-byte Folded Spill
	v_add_co_u32 v0, vcc_lo, v5, 11
	v_add_co_ci_u32_e32 v1, vcc_lo, 0, v6, vcc_lo
	buffer_store_dword v0, off, s[28:31], 0 offset:172 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:176 ; 4-byte Folded Spill
	v_add_co_u32 v0, vcc_lo, v5, 12
	v_add_co_ci_u32_e32 v1, vcc_lo, 0, v6, vcc_lo
	buffer_store_dword v0, off, s[28:31], 0 offset:180 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:184 ; 4-byte Folded Spill
	v_add_co_u32 v0, vcc_lo, v5, 13
	v_add_co_ci_u32_e32 v1, vcc_lo, 0, v6, vcc_lo
	buffer_store_dword v0, off, s[28:31], 0 offset:188 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:192 ; 4-byte Folded Spill
	v_add_co_u32 v0, vcc_lo, v5, 14
	v_add_co_ci_u32_e32 v1, vcc_lo, 0, v6, vcc_lo
	buffer_store_dword v0, off, s[28:31], 0 offset:196 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:200 ; 4-byte Folded Spill
	v_add_co_u32 v0, vcc_lo, v5, 15
	v_add_co_ci_u32_e32 v1, vcc_lo, 0, v6, vcc_lo
	buffer_store_dword v0, off, s[28:31], 0 offset:204 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:208 ; 4-byte Folded Spill
	v_add_co_u32 v0, vcc_lo, v5, 16
	v_add_co_ci_u32_e32 v1, vcc_lo, 0, v6, vcc_lo
	buffer_store_dword v0, off, s[28:31], 0 offset:212 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:216 ; 4-byte Folded Spill
	v_add_co_u32 v0, vcc_lo, v5, 17
	v_add_co_ci_u32_e32 v1, vcc_lo, 0, v6, vcc_lo
	buffer_store_dword v0, off, s[28:31], 0 offset:220 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:224 ; 4-byte Folded Spill
	v_add_co_u32 v0, vcc_lo, v5, 18
	v_add_co_ci_u32_e32 v1, vcc_lo, 0, v6, vcc_lo
	buffer_store_dword v0, off, s[28:31], 0 offset:228 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:232 ; 4-byte Folded Spill
	v_add_co_u32 v0, vcc_lo, v5, 19
	v_add_co_ci_u32_e32 v1, vcc_lo, 0, v6, vcc_lo
	buffer_store_dword v0, off, s[28:31], 0 offset:236 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:240 ; 4-byte Folded Spill
	v_add_co_u32 v0, vcc_lo, v5, 20
	v_add_co_ci_u32_e32 v1, vcc_lo, 0, v6, vcc_lo
	buffer_store_dword v0, off, s[28:31], 0 offset:244 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:248 ; 4-byte Folded Spill
	v_add_co_u32 v0, vcc_lo, v5, 21
	v_add_co_ci_u32_e32 v1, vcc_lo, 0, v6, vcc_lo
	buffer_store_dword v0, off, s[28:31], 0 offset:252 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:256 ; 4-byte Folded Spill
	v_add_co_u32 v0, vcc_lo, v5, 22
	v_add_co_ci_u32_e32 v1, vcc_lo, 0, v6, vcc_lo
	buffer_store_dword v0, off, s[28:31], 0 offset:260 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:264 ; 4-byte Folded Spill
	v_add_co_u32 v0, vcc_lo, v5, 23
	v_add_co_ci_u32_e32 v1, vcc_lo, 0, v6, vcc_lo
	v_add_co_u32 v6, vcc_lo, s0, v13
	v_add_co_ci_u32_e32 v7, vcc_lo, s1, v14, vcc_lo
	buffer_store_dword v0, off, s[28:31], 0 offset:268 ; 4-byte Folded Spill
	buffer_store_dword v1, off, s[28:31], 0 offset:272 ; 4-byte Folded Spill
	s_clause 0x5
	buffer_load_dword v9, off, s[28:31], 0 offset:68
	buffer_load_dword v10, off, s[28:31], 0 offset:72
	buffer_load_dword v11, off, s[28:31], 0 offset:76
	buffer_load_dword v12, off, s[28:31], 0 offset:80
	buffer_load_dword v4, off, s[28:31], 0 offset:276
	buffer_load_dword v5, off, s[28:31], 0 offset:280
	s_waitcnt vmcnt(0)
	v_lshlrev_b64 v[0:1], 2, v[4:5]
	s_clause 0x1
	buffer_load_dword v4, off, s[28:31], 0 offset:100
	buffer_load_dword v5, off, s[28:31], 0 offset:104
	v_add_co_u32 v0, vcc_lo, s0, v0
	v_add_co_ci_u32_e32 v1, vcc_lo, s1, v1, vcc_lo
	s_waitcnt vmcnt(0)
	v_lshlrev_b64 v[2:3], 2, v[4:5]
	s_clause 0x1
	buffer_load_dword v4, off, s[28:31], 0 offset:108
	buffer_load_dword v5, off, s[28:31], 0 offset:112
	v_add_co_u32 v2, vcc_lo, s0, v2
	v_add_co_ci_u32_e32 v3, vcc_lo, s1, v3, vcc_lo
	s_waitcnt vmcnt(0)
	v_lshlrev_b64 v[4:5], 2, v[4:5]
	v_add_co_u32 v13, vcc_lo, s0, v4
	v_add_co_ci_u32_e32 v14, vcc_lo, s1, v5, vcc_lo
	global_store_dword v[6:7], v9, off
	global_store_dword v[0:1], v10, off
	global_store_dword v[2:3], v11, off
	global_store_dword v[13:14], v12, off
	s_clause 0x1
	buffer_load_dword v4, off, s[28:31], 0 offset:116
	buffer_load_dword v5, off, s[28:31], 0 offset:120
	s_waitcnt vmcnt(0)
	v_lshlrev_b64 v[9:10], 2, v[4:5]
	v_add_co_u32 v4, vcc_lo, s0, v9
	v_add_co_ci_u32_e32 v5, vcc_lo, s1, v10, vcc_lo
	buffer_store_dword v4, off, s[28:31], 0 offset:68 ; 4-byte Folded Spill
	buffer_store_dword v5, off, s[28:31], 0 offset:72 ; 4-byte Folded Spill
	s_clause 0x1
	buffer_load_dword v4, off, s[28:31], 0 offset:124
	buffer_load_dword v5, off, s[28:31], 0 offset:128
	s_waitcnt vmcnt(0)
	v_lshlrev_b64 v[11:12], 2, v[4:5]
	s_clause 0x1
	buffer_load_dword v4, off, s[28:31], 0 offset:132
	buffer_load_dword v5, off, s[28:31], 0 offset:136
	v_add_co_u32 v11, vcc_lo, s0, v11
	v_add_co_ci_u32_e32 v12, vcc_lo, s1, v12, vcc_lo
	s_waitcnt vmcnt(0)
	v_lshlrev_b64 v[13:14], 2, v[4:5]
	s_clause 0x1
	buffer_load_dword v4, off, s[28:31], 0 offset:156
	buffer_load_dword v5, off, s[28:31], 0 offset:160
	v_add_co_u32 v13, vcc_lo, s0, v13
	v_add_co_ci_u32_e32 v14, vcc_lo, s1, v14, vcc_lo
	s_waitcnt vmcnt(0)
	v_lshlrev_b64 v[0:1], 2, v[4:5]
	v_add_co_u32 v9, vcc_lo, s0, v0
	v_add_co_ci_u32_e32 v10, vcc_lo, s1, v1, vcc_lo
	s_clause 0x5
	buffer_load_dword v4, off, s[28:31], 0 offset:52
	buffer_load_dword v5, off, s[28:31], 0 offset:56
	buffer_load_dword v6, off, s[28:31], 0 offset:60
	buffer_load_dword v7, off, s[28:31], 0 offset:64
	buffer_load_dword v0, off, s[28:31], 0 offset:68
	buffer_load_dword v1, off, s[28:31], 0 offset:72
	s_waitcnt vmcnt(0)
	global_store_dword v[0:1], v4, off
	global_store_dword v[11:12], v5, off
	global_store_dword v[13:14], v6, off
	global_store_dword v[9:10], v7, off
	s_clause 0xb
	buffer_load_dword v4, off, s[28:31], 0 offset:140
	buffer_load_dword v5, off, s[28:31], 0 offset:144
	buffer_load_dword v7, off, s[28:31], 0 offset:148
	buffer_load_dword v8, off, s[28:31], 0 offset:152
	buffer_load_dword v9, off, s[28:31], 0 offset:164
	buffer_load_dword v10, off, s[28:31], 0 offset:168
	buffer_load_dword v11, off, s[28:31], 0 offset:172
	buffer_load_dword v12, off, s[28:31], 0 offset:176
	buffer_load_dword v0, off, s[28:31], 0 offset:84
	buffer_load_dword v1, off, s[28:31], 0 offset:88
	buffer_load_dword v2, off, s[28:31], 0 offset:92
	buffer_load_dword v3, off, s[28:31], 0 offset:96
	s_waitcnt vmcnt(10)
	v_lshlrev_b64 v[5:6], 2, v[4:5]
	s_waitcnt vmcnt(8)
	v_lshlrev_b64 v[7:8], 2, v[7:8]
	s_waitcnt vmcnt(6)
	v_lshlrev_b64 v[9:10], 2, v[9:10]
	s_waitcnt vmcnt(4)
	v_lshlrev_b64 v[11:12], 2, v[11:12]
	v_add_co_u32 v5, vcc_lo, s0, v5
	v_add_co_ci_u32_e32 v6, vcc_lo, s1, v6, vcc_lo
	v_add_co_u32 v7, vcc_lo, s0, v7
	v_add_co_ci_u32_e32 v8, vcc_lo, s1, v8, vcc_lo
	v_add_co_u32 v9, vcc_lo, s0, v9
	v_add_co_ci_u32_e32 v10, vcc_lo, s1, v10, vcc_lo
	v_add_co_u32 v11, vcc_lo, s0, v11
	v_add_co_ci_u32_e32 v12, vcc_lo, s1, v12, vcc_lo
	s_waitcnt vmcnt(0)
	global_store_dword v[5:6], v0, off
	global_store_dword v[7:8], v1, off
	global_store_dword v[9:10], v2, off
	global_store_dword v[11:12], v3, off
	s_clause 0xb
	buffer_load_dword v0, off, s[28:31], 0 offset:180
	buffer_load_dword v1, off, s[28:31], 0 offset:184
	buffer_load_dword v2, off, s[28:31], 0 offset:188
	buffer_load_dword v3, off, s[28:31], 0 offset:192
	buffer_load_dword v4, off, s[28:31], 0 offset:196
	buffer_load_dword v5, off, s[28:31], 0 offset:200
	buffer_load_dword v6, off, s[28:31], 0 offset:204
	buffer_load_dword v7, off, s[28:31], 0 offset:208
	buffer_load_dword v8, off, s[28:31], 0 offset:20
	buffer_load_dword v9, off, s[28:31], 0 offset:24
	buffer_load_dword v10, off, s[28:31], 0 offset:28
	buffer_load_dword v11, off, s[28:31], 0 offset:32
	s_waitcnt vmcnt(10)
	v_lshlrev_b64 v[0:1], 2, v[0:1]
	s_waitcnt vmcnt(8)
	v_lshlrev_b64 v[2:3], 2, v[2:3]
	s_waitcnt vmcnt(6)
	v_lshlrev_b64 v[4:5], 2, v[4:5]
	s_waitcnt vmcnt(4)
	v_lshlrev_b64 v[6:7], 2, v[6:7]
	v_add_co_u32 v0, vcc_lo, s0, v0
	v_add_co_ci_u32_e32 v1, vcc_lo, s1, v1, vcc_lo
	v_add_co_u32 v2, vcc_lo, s0, v2
	v_add_co_ci_u32_e32 v3, vcc_lo, s1, v3, vcc_lo
	v_add_co_u32 v4, vcc_lo, s0, v4
	v_add_co_ci_u32_e32 v5, vcc_lo, s1, v5, vcc_lo
	v_add_co_u32 v6, vcc_lo, s0, v6
	v_add_co_ci_u32_e32 v7, vcc_lo, s1, v7, vcc_lo
	s_waitcnt vmcnt(0)
	global_store_dword v[0:1], v8, off
	global_store_dword v[2:3], v9, off
	global_store_dword v[4:5], v10, off
	global_store_dword v[6:7], v11, off
	s_clause 0xb
	buffer_load_dword v0, off, s[28:31], 0 offset:212
	buffer_load_dword v1, off, s[28:31], 0 offset:216
	buffer_load_dword v2, off, s[28:31], 0 offset:220
	buffer_load_dword v3, off, s[28:31], 0 offset:224
	buffer_load_dword v4, off, s[28:31], 0 offset:228
	buffer_load_dword v5, off, s[28:31], 0 offset:232
	buffer_load_dword v6, off, s[28:31], 0 offset:236
	buffer_load_dword v7, off, s[28:31], 0 offset:240
	buffer_load_dword v8, off, s[28:31], 0 offset:4
	buffer_load_dword v9, off, s[28:31], 0 offset:8
	buffer_load_dword v10, off, s[28:31], 0 offset:12
	buffer_load_dword v11, off, s[28:31], 0 offset:16
	s_waitcnt vmcnt(10)
	v_lshlrev_b64 v[0:1], 2, v[0:1]
	s_waitcnt vmcnt(8)
	v_lshlrev_b64 v[2:3], 2, v[2:3]
	s_waitcnt vmcnt(6)
	v_lshlrev_b64 v[4:5], 2, v[4:5]
	s_waitcnt vmcnt(4)
	v_lshlrev_b64 v[6:7], 2, v[6:7]
	v_add_co_u32 v0, vcc_lo, s0, v0
	v_add_co_ci_u32_e32 v1, vcc_lo, s1, v1, vcc_lo
	v_add_co_u32 v2, vcc_lo, s0, v2
	v_add_co_ci_u32_e32 v3, vcc_lo, s1, v3, vcc_lo
	v_add_co_u32 v4, vcc_lo, s0, v4
	v_add_co_ci_u32_e32 v5, vcc_lo, s1, v5, vcc_lo
	v_add_co_u32 v6, vcc_lo, s0, v6
	v_add_co_ci_u32_e32 v7, vcc_lo, s1, v7, vcc_lo
	s_waitcnt vmcnt(0)
	global_store_dword v[0:1], v8, off
	global_store_dword v[2:3], v9, off
	global_store_dword v[4:5], v10, off
	global_store_dword v[6:7], v11, off
	s_clause 0xb
	buffer_load_dword v0, off, s[28:31], 0 offset:244
	buffer_load_dword v1, off, s[28:31], 0 offset:248
	buffer_load_dword v2, off, s[28:31], 0 offset:252
	buffer_load_dword v3, off, s[28:31], 0 offset:256
	buffer_load_dword v4, off, s[28:31], 0 offset:260
	buffer_load_dword v5, off, s[28:31], 0 offset:264
	buffer_load_dword v6, off, s[28:31], 0 offset:268
	buffer_load_dword v7, off, s[28:31], 0 offset:272
	buffer_load_dword v8, off, s[28:31], 0 offset:36
	buffer_load_dword v9, off, s[28:31], 0 offset:40
	buffer_load_dword v10, off, s[28:31], 0 offset:44
	buffer_load_dword v11, off, s[28:31], 0 offset:48
	s_waitcnt vmcnt(10)
	v_lshlrev_b64 v[0:1], 2, v[0:1]
	s_waitcnt vmcnt(8)
	v_lshlrev_b64 v[2:3], 2, v[2:3]
	s_waitcnt vmcnt(6)
	v_lshlrev_b64 v[4:5], 2, v[4:5]
	s_waitcnt vmcnt(4)
	v_lshlrev_b64 v[6:7], 2, v[6:7]
	v_add_co_u32 v0, vcc_lo, s0, v0
	v_add_co_ci_u32_e32 v1, vcc_lo, s1, v1, vcc_lo
	v_add_co_u32 v2, vcc_lo, s0, v2
	v_add_co_ci_u32_e32 v3, vcc_lo, s1, v3, vcc_lo
	v_add_co_u32 v4, vcc_lo, s0, v4
	v_add_co_ci_u32_e32 v5, vcc_lo, s1, v5, vcc_lo
	v_add_co_u32 v6, vcc_lo, s0, v6
	v_add_co_ci_u32_e32 v7, vcc_lo, s1, v7, vcc_lo
	s_waitcnt vmcnt(0)
	global_store_dword v[0:1], v8, off
	global_store_dword v[2:3], v9, off
	global_store_dword v[4:5], v10, off
	global_store_dword v[6:7], v11, off
	s_endpgm
	.section	.rodata,#alloc
	.p2align	6
	.amdhsa_kernel spill
		.amdhsa_group_segment_fixed_size 0
		.amdhsa_private_segment_fixed_size 284
		.amdhsa_kernarg_size 80
		.amdhsa_user_sgpr_count 8
		.amdhsa_user_sgpr_private_segment_buffer 1
		.amdhsa_user_sgpr_dispatch_ptr 1
		.amdhsa_user_sgpr_queue_ptr 0
		.amdhsa_user_sgpr_kernarg_segment_ptr 1
		.amdhsa_user_sgpr_dispatch_id 0
		.amdhsa_user_sgpr_flat_scratch_init 0
		.amdhsa_user_sgpr_private_segment_size 0
		.amdhsa_wavefront_size32 1
		.amdhsa_uses_dynamic_stack 0
		.amdhsa_system_sgpr_private_segment_wavefront_offset 1
		.amdhsa_system_sgpr_workgroup_id_x 1
		.amdhsa_system_sgpr_workgroup_id_y 0
		.amdhsa_system_sgpr_workgroup_id_z 0
		.amdhsa_system_sgpr_workgroup_info 0
		.amdhsa_system_vgpr_workitem_id 0
		.amdhsa_next_free_vgpr 15
		.amdhsa_next_free_sgpr 44
		.amdhsa_reserve_flat_scratch 0
		.amdhsa_float_round_mode_32 0
		.amdhsa_float_round_mode_16_64 0
		.amdhsa_float_denorm_mode_32 3
		.amdhsa_float_denorm_mode_16_64 3
		.amdhsa_dx10_clamp 1
		.amdhsa_ieee_mode 1
		.amdhsa_fp16_overflow 0
		.amdhsa_workgroup_processor_mode 1
		.amdhsa_memory_ordered 1
		.amdhsa_forward_progress 0
		.amdhsa_shared_vgpr_count 0
		.amdhsa_exception_fp_ieee_invalid_op 0
		.amdhsa_exception_fp_denorm_src 0
		.amdhsa_exception_fp_ieee_div_zero 0
		.amdhsa_exception_fp_ieee_overflow 0
		.amdhsa_exception_fp_ieee_underflow 0
		.amdhsa_exception_fp_ieee_inexact 0
		.amdhsa_exception_int_div_zero 0
	.end_amdhsa_kernel
	.text
.Lfunc_end0:
	.size	spill, .Lfunc_end0-spill
                                        ; -- End function
	.section	.AMDGPU.csdata
; Kernel info:
; codeLenInByte = 3700
; NumSgprs: 46
; NumVgprs: 15
; ScratchSize: 284
; MemoryBound: 0
; FloatMode: 240
; IeeeMode: 1
; LDSByteSize: 0 bytes/workgroup (compile time only)
; SGPRBlocks: 5
; VGPRBlocks: 1
; NumSGPRsForWavesPerEU: 46
; NumVGPRsForWavesPerEU: 15
; Occupancy: 16
; WaveLimiterHint : 0
; COMPUTE_PGM_RSRC2:SCRATCH_EN: 1
; COMPUTE_PGM_RSRC2:USER_SGPR: 8
; COMPUTE_PGM_RSRC2:TRAP_HANDLER: 0
; COMPUTE_PGM_RSRC2:TGID_X_EN: 1
; COMPUTE_PGM_RSRC2:TGID_Y_EN: 0
; COMPUTE_PGM_RSRC2:TGID_Z_EN: 0
; COMPUTE_PGM_RSRC2:TIDIG_COMP_CNT: 0
	.text
	.p2alignl 6, 3214868480
	.fill 48, 4, 3214868480
	.ident	"Debian clang version 15.0.6"
	.ident	"Debian clang version 15.0.5"
	.section	".note.GNU-stack"
	.addrsig
	.amdgpu_metadata
---
amdhsa.kernels:
  - .args:
      - .access:         read_only
        .address_space:  global
        .is_const:       true
        .is_restrict:    true
        .offset:         0
        .size:           8
        .type_name:      'float*'
        .value_kind:     global_buffer
      - .address_space:  global
        .is_restrict:    true
        .offset:         8
        .size:           8
        .type_name:      'float*'
        .value_kind:     global_buffer
      - .offset:         16
        .size:           4
        .type_name:      int
        .value_kind:     by_value
      - .offset:         24
        .size:           8
        .value_kind:     hidden_global_offset_x
      - .offset:         32
        .size:           8
        .value_kind:     hidden_global_offset_y
      - .offset:         40
        .size:           8
        .value_kind:     hidden_global_offset_z
      - .address_space:  global
        .offset:         48
        .size:           8
        .value_kind:     hidden_none
      - .address_space:  global
        .offset:         56
        .size:           8
        .value_kind:     hidden_none
      - .address_space:  global
        .offset:         64
        .size:           8
        .value_kind:     hidden_none
      - .address_space:  global
        .offset:         72
        .size:           8
        .value_kind:     hidden_none
    .group_segment_fixed_size: 0
    .kernarg_segment_align: 8
    .kernarg_segment_size: 80
    .language:       OpenCL C
    .language_version:
      - 1
      - 2
    .max_flat_workgroup_size: 256
    .name:           spill
    .private_segment_fixed_size: 284
    .sgpr_count:     46
    .sgpr_spill_count: 0
    .symbol:         spill.kd
    .uses_dynamic_stack: false
    .vgpr_count:     15
    .vgpr_spill_count: 146
    .wavefront_size: 32
amdhsa.target:   amdgcn-amd-amdhsa--gfx1030
amdhsa.version:
  - 1
  - 1
...

	.end_amdgpu_metadata
